"""What every controller is given: clients, caches, clock, settings. Built once by ``setup``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controllers.status.memory import StatusMemory
from controllers.wiring.metrics import ControllerMetrics
from controllers.wiring.settings import ControllerSettings
from etl_operator.router.client import RouterClients
from etl_operator.router.registry import RegistryKeeper
from informers.cache.informer import Informer
from informers.client import Client
from informers.clock import Clock
from informers.events import EventRecorder
from informers.objects import Resource


@dataclass(frozen=True, slots=True)
class Context:
    """The controllers' surroundings."""

    client: Client
    events: EventRecorder
    clock: Clock
    settings: ControllerSettings
    clients: RouterClients
    keeper: RegistryKeeper
    informers: Mapping[Resource, Informer]
    metrics: ControllerMetrics
    statuses: StatusMemory = field(default_factory=StatusMemory)
