"""Controllers: what to watch, what to run, how often, and what happens when it fails."""

from __future__ import annotations

from informers.controller import predicates
from informers.controller.controller import Controller, Running
from informers.controller.current import Reconcile, current
from informers.controller.failures import DeadlineExceeded
from informers.controller.gate import Gate, GatedInformer
from informers.controller.predicates import Predicate
from informers.controller.reconciler import BlockingReconciler, Reconciler
from informers.controller.sources import Mapper, Source, owner_mapper, reference_mapper
from informers.controller.threads import block_on

__all__ = [
    "BlockingReconciler",
    "Controller",
    "DeadlineExceeded",
    "Gate",
    "GatedInformer",
    "Mapper",
    "Predicate",
    "Reconcile",
    "Reconciler",
    "Running",
    "Source",
    "block_on",
    "current",
    "owner_mapper",
    "predicates",
    "reference_mapper",
]
