"""The command line: ``etl-operator run | crds | version | sandbox``.

Commands import what they need when they run: ``etl-operator crds`` does not load gRPC, and
``etl-operator run`` works without the ``sandbox`` extra.
"""

from __future__ import annotations

from etl_operator.cli.main import main

__all__ = ["main"]
