"""Which controller watches what, and why. The only place where controllers meet the manager."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from controllers.cluster.reconciler import ClusterReconciler
from controllers.finalizing.farewell import Farewell
from controllers.members.reach import (
    POD_INDEXES,
    calls_with_tls,
    index_pod_cluster,
    leader_or_readiness_changed,
    reach_changed,
    readiness_or_freeze_changed,
)
from controllers.objects.kinds import (
    CONFIG_MAP,
    DISRUPTION_BUDGET,
    POD,
    PVC,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
)
from controllers.pipeline import reconciler as pipeline
from controllers.pipeline.leftovers import LeftoversReconciler
from controllers.pipeline.reconciler import PipelineReconciler
from controllers.references.clusters import dependents_of_cluster, dependents_of_pod, key_of
from controllers.references.services import (
    PIPELINE_INDEXES,
    SERVICE_INDEXES,
    SERVICES,
    namesakes,
    pipelines_using,
    services_used,
)
from controllers.service import reconciler as service
from controllers.service.health import EndpointHealth
from controllers.service.prober import ProbeReconciler
from controllers.service.reconciler import ServiceReconciler
from controllers.service.registration import readiness_or_reach_changed
from controllers.status.memory import StatusMemory
from controllers.wiring.context import Context
from controllers.wiring.metrics import ControllerMetrics, RpcMetrics
from controllers.wiring.settings import ControllerSettings
from etl_operator.api import CLUSTER, PIPELINE
from etl_operator.router.client import RouterClients
from etl_operator.router.registry import RegistryKeeper
from informers.access import Access
from informers.cache.informer import Informer
from informers.controller import Controller, owner_mapper, predicates
from informers.manager import Manager
from informers.objects import ObjectKey, Resource
from informers.views.view import View

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
        statuses=StatusMemory(manager.clock),
    )
    clients.await_certificates(lambda address: calls_with_tls(informers[POD], address))
    manager.ready.add("status-fields", context.statuses.health)
    rpcs, clusters = RpcMetrics(manager.metrics), informers[CLUSTER]
    manager.metrics.before_scrape(lambda: rpcs.keep(lambda key: clusters.get(key) is not None))
    manager.add(_cluster_controller(context))
    manager.add(_pipeline_controller(context))
    manager.add(_leftovers_controller(context))
    health = EndpointHealth()
    services = {resource: _service_controller(context, resource, health) for resource in SERVICES}
    for controller in services.values():
        manager.add(controller)
    manager.add(_probe_controller(context, health, services))
    held = {PIPELINE: (pipeline.FINALIZER, pipeline.MANAGER)}
    held |= {resource: (service.FINALIZER, service.manager_of(resource)) for resource in SERVICES}
    manager.add_runnable("farewell", Farewell(context, held).run)
    keeper.on_change = _registration_changed(context, services)


def _informers(manager: Manager, settings: ControllerSettings) -> Mapping[Resource, Informer]:
    indexes = {
        PIPELINE: PIPELINE_INDEXES,
        POD: POD_INDEXES,
        PVC: POD_INDEXES,
        **dict.fromkeys(SERVICES, SERVICE_INDEXES),
    }
    wanted: Sequence[Resource] = (CLUSTER, PIPELINE, *SERVICES, *_CHILDREN, POD, PVC)
    return {
        resource: manager.informer(
            resource, namespaces=settings.namespaces, indexes=indexes.get(resource, {})
        )
        for resource in wanted
    }


def _cluster_controller(context: Context) -> Controller:
    informers = context.informers
    controller = Controller(
        "cluster",
        ClusterReconciler(context),
        workers=context.settings.workers,
        access=_cluster_access(context.settings.namespaces),
    )
    controller.watches(informers[CLUSTER], predicate=_to_be_reconciled(context, CLUSTER))
    for resource in _CHILDREN:
        controller.watches(informers[resource], mapper=owner_mapper(CLUSTER))
    for resource in (POD, PVC):
        controller.watches(informers[resource], mapper=_cluster_of_label)
    return controller


def _pipeline_controller(context: Context) -> Controller:
    informers = context.informers
    pipelines = informers[PIPELINE]
    controller = Controller(
        "pipeline",
        PipelineReconciler(context),
        workers=context.settings.workers,
        access=_own_access(PIPELINE, context.settings.namespaces),
    )
    controller.watches(pipelines, predicate=_to_be_reconciled(context, PIPELINE))
    controller.watches(
        informers[CLUSTER], predicate=readiness_or_freeze_changed, mapper=dependents_of_cluster(pipelines)
    )
    for resource in SERVICES:
        # Existence decides, and registration brings new endpoints into the assignment.
        controller.watches(
            informers[resource],
            predicate=readiness_or_reach_changed,
            mapper=pipelines_using(resource, pipelines),
        )
    return controller


def _leftovers_controller(context: Context) -> Controller:
    """Objects that go take their pipelines along themselves, so only the clusters are watched."""
    controller = Controller(
        "leftovers",
        LeftoversReconciler(context),
        workers=1,
        access=[Access(PIPELINE, ("list",), context.settings.namespaces)],
    )
    controller.watches(context.informers[CLUSTER], predicate=leader_or_readiness_changed)
    return controller


def _service_controller(context: Context, resource: Resource, health: EndpointHealth) -> Controller:
    informers = context.informers
    own = informers[resource]
    name = resource.kind.removeprefix("Etl").lower()
    controller = Controller(
        name,
        ServiceReconciler(context, resource, health),
        workers=context.settings.workers,
        access=_own_access(resource, context.settings.namespaces),
    )
    controller.watches(own, predicate=_to_be_reconciled(context, resource))
    controller.watches(
        informers[CLUSTER], predicate=predicates.ready_changed, mapper=dependents_of_cluster(own)
    )
    controller.watches(informers[POD], predicate=reach_changed, mapper=dependents_of_pod(own))
    # A pipeline that goes, or turns to another service, may end a blocked deletion.
    controller.watches(informers[PIPELINE], predicate=predicates.spec_changed, mapper=services_used(resource))
    for other in SERVICES:
        # The name may become free, or be taken by an older object that moved to this cluster.
        controller.watches(informers[other], predicate=predicates.spec_changed, mapper=namesakes(own))
    return controller


def _probe_controller(
    context: Context, health: EndpointHealth, services: Mapping[Resource, Controller]
) -> Controller:
    def turned(resource: Resource, key: ObjectKey) -> None:
        services[resource].enqueue(key, cause="health changed")

    controller = Controller(
        "probe", ProbeReconciler(context, health, turned), workers=context.settings.probes
    )
    for resource in SERVICES:
        controller.watches(context.informers[resource], predicate=predicates.spec_changed)
    return controller


def _to_be_reconciled(context: Context, resource: Resource) -> predicates.Predicate:
    """What is asked for has changed, or someone else wrote the status."""
    return predicates.any_of(context.statuses.changed_by_others(resource), predicates.spec_changed)


def _cluster_access(namespaces: Sequence[str]) -> list[Access]:
    """What is done to children and members. Storage classes are looked at where that is allowed."""
    verbs = {
        **dict.fromkeys(_CHILDREN, ("get", "create", "patch")),
        **dict.fromkeys((SERVICE_ACCOUNT, DISRUPTION_BUDGET), ("get", "create", "patch", "delete")),
        POD: ("delete",),
        PVC: ("patch",),
    }
    children = [Access(resource, wanted, namespaces) for resource, wanted in verbs.items()]
    return [*children, Access(CLUSTER, ("patch",), namespaces, subresource="status")]


def _own_access(resource: Resource, namespaces: Sequence[str]) -> list[Access]:
    """The finalizer and the status."""
    return [
        Access(resource, ("patch",), namespaces),
        Access(resource, ("patch",), namespaces, subresource="status"),
    ]


def _cluster_of_label(view: View) -> list[ObjectKey]:
    return [ObjectKey(view.key.namespace, value.partition("/")[2]) for value in index_pod_cluster(view)]


def _registration_changed(
    context: Context, controllers: Mapping[Resource, Controller]
) -> Callable[[str], None]:
    def changed(service: str) -> None:
        key = key_of(service)
        for resource, controller in controllers.items():
            if context.informers[resource].get(key) is not None:
                controller.enqueue(key, cause="registration changed")

    return changed
