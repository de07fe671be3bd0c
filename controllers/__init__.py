"""The controllers of etl-operator: one typed reconciler per kind, over pure builders and status functions."""

from __future__ import annotations

from controllers.setup import setup
from controllers.wiring.settings import ControllerSettings

__all__ = ["ControllerSettings", "setup"]
