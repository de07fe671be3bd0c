"""The controllers of etl-operator: one typed reconciler per kind, over pure builders and status functions."""

from __future__ import annotations

from controllers.settings import ControllerSettings
from controllers.wiring import setup

__all__ = ["ControllerSettings", "setup"]
