"""Which controller watches what, and why. The only place where controllers meet the manager."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controllers.cluster.reconciler import ClusterReconciler
from controllers.context import Context
from controllers.kinds import CONFIG_MAP, DISRUPTION_BUDGET, POD, PVC, SERVICE, SERVICE_ACCOUNT, STATEFUL_SET
from controllers.metrics import ControllerMetrics
from controllers.pipeline.reconciler import PipelineReconciler
from controllers.references import (
    PIPELINE_INDEXES,
    POD_INDEXES,
    SERVICE_INDEXES,
    SERVICES,
    dependents_of_cluster,
    dependents_of_pod,
    index_pod_cluster,
    namesakes,
    pipelines_using,
    services_used,
)
from controllers.service.registration import key_of
from controllers.service.reconciler import ServiceReconciler
from controllers.settings import ControllerSettings
from etl_operator.api import CLUSTER, PIPELINE
from etl_operator.router.client import RouterClients
from etl_operator.router.registry import RegistryKeeper
from informers.cache.informer import Informer
from informers.cache.view import View
from informers.controller import Controller, owner_mapper, predicates
from informers.manager import Manager
from informers.objects import ObjectKey, Resource

_CHILDREN = (CONFIG_MAP, SERVICE, SERVICE_ACCOUNT, DISRUPTION_BUDGET, STATEFUL_SET)


def setup(
    manager: Manager, settings: ControllerSettings, clients: RouterClients, keeper: RegistryKeeper
) -> None:
    """Create the informers and controllers, and hand them to the manager.

    Takes over ``keeper.on_change``. Running and closing the keeper and the clients is the caller's.
    """
    informers = _informers(manager, settings)
    context = Context(
        client=manager.client,
        events=manager.events,
        clock=manager.clock,
        settings=settings,
        clients=clients,
        keeper=keeper,
        informers=informers,
        metrics=ControllerMetrics(manager.metrics),
    )
    manager.add(_cluster_controller(context))
    manager.add(_pipeline_controller(context))
    services = {resource: _service_controller(context, resource) for resource in SERVICES}
    for controller in services.values():
        manager.add(controller)
    keeper.on_change = _registration_changed(context, services)
