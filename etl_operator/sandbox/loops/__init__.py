"""The control loops that give StatefulSets, Services, budgets, claims and namespaces their meaning."""

from etl_operator.sandbox.loops.running import run_loops

__all__ = ["run_loops"]
