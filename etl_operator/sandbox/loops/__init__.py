"""The control loops that give StatefulSets, Services, budgets and claims their meaning."""

from etl_operator.sandbox.loops.running import run_loops

__all__ = ["run_loops"]
