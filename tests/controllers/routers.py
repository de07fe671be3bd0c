"""Router nodes and a registry keeper in memory: what the controllers ask, and what they change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from etl_operator.router.errors import NotLeader, RouterError, Unreachable
from etl_operator.router.leaders import Leaders
from etl_operator.router.pb import router_pb2 as pb
from etl_operator.tls.credentials import ChannelTls


@dataclass
class Pipeline:
    """A pipeline in the router's state machine."""

    config: pb.PipelineConfig
    enabled: bool = False
    version: int = 1
    pending: int = 0
    counters: dict[str, pb.StageStatus] = field(default_factory=dict)
    """By stage."""


@dataclass
class Routers:
    """A Raft cluster seen from outside: shared pipelines, a registry per node, one leader."""

    leader: int = 1
    term: int = 1
    commit: int = 10
    claims: dict[int, int] = field(default_factory=dict)
    """Node id to the leader it names, where that differs from :attr:`leader`."""
    down: set[str] = field(default_factory=set)
    errors: dict[str, RouterError] = field(default_factory=dict)
    """Method name to the error it answers with."""
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    registered: dict[str, set[str]] = field(default_factory=dict)
    habit: Callable[[pb.PipelineConfig], Any] = lambda _: None
    """What these routers do to every config they are given."""
    hosts: dict[str, str] = field(default_factory=dict)
    """Service name to the host of its endpoint, where that is not ``<name>-svc``."""
    mutations: list[str] = field(default_factory=list)
    forced: list[str] = field(default_factory=list)
    """Pipelines that were deleted with whatever was inside."""

    secured: dict[str, ChannelTls | None] = field(default_factory=dict)
    """How addresses are called."""
    buffer_troubles: dict[int, str] = field(default_factory=dict)
    """Node id to what it says of its durable buffer."""
    protocol: str = "etl"
    leaders: Leaders = field(default_factory=Leaders)
    """Who is remembered to lead, as clients do."""

    @property
    def prefixes(self) -> Routers:
        """What is known of the packages the nodes speak."""
        return self

    def of(self, _: str) -> str:
        """The package of one address."""
        return self.protocol

    def await_certificates(self, needed: Callable[[str], bool]) -> None:
        """Nobody waits here."""

    def secure(self, address: str, tls: ChannelTls | None) -> None:
        """How an address is called from now on."""
        self.secured[address] = tls

    def node(self, address: str) -> RouterNodeDouble:
        """The client of one address."""
        return RouterNodeDouble(self, address)


class RouterNodeDouble:
    """One router node as its client shows it."""

    def __init__(self, routers: Routers, address: str) -> None:
        self._routers = routers
        self.address = address
        self._id = int(address.partition(".")[0].rpartition("-")[2]) + 1

    @property
    def buffer_trouble(self) -> str:
        return self._routers.buffer_troubles.get(self._id, "")

    def _check(self, method: str, *, leader: bool = False) -> None:
        if self.address.partition(".")[0] in self._routers.down:
            raise Unreachable("connection refused", address=self.address, method=method)
        if method in self._routers.errors:
            raise self._routers.errors[method]
        if leader and self._id != self._routers.leader:
            raise NotLeader("Not the leader", address=self.address, method=method)

    async def get_cluster_status(self) -> pb.GetClusterStatusResponse:
        self._check("GetClusterStatus")
        routers = self._routers
        return pb.GetClusterStatusResponse(
            node_id=self._id,
            leader_id=routers.claims.get(self._id, routers.leader),
            term=routers.term,
            commit_index=routers.commit,
            applied_index=routers.commit,
        )

    async def get_pipeline(self, name: str) -> pb.GetPipelineResponse | None:
        self._check("GetPipeline")
        found = self._routers.pipelines.get(name)
        if found is None:
            return None
        status = pb.PipelineStatus(
            enabled=found.enabled, version=found.version, stage_statuses=found.counters
        )
        return pb.GetPipelineResponse(found=True, config=found.config, status=status)

    async def list_pipelines(self, include_disabled: bool = False) -> Sequence[pb.PipelineConfig]:
        self._check("ListPipelines")
        found = self._routers.pipelines.values()
        return [one.config for one in found if one.enabled or include_disabled]

    async def create_pipeline(self, config: pb.PipelineConfig) -> str:
        self._mutate("create")
        self._routers.pipelines[config.id] = Pipeline(self._stored(config))
        return str(config.id)

    async def update_pipeline(self, name: str, config: pb.PipelineConfig) -> int:
        self._mutate("update")
        found = self._routers.pipelines[name]
        found.config, found.version = self._stored(config), found.version + 1
        return found.version

    def _stored(self, config: pb.PipelineConfig) -> pb.PipelineConfig:
        stored = pb.PipelineConfig()
        stored.CopyFrom(config)
        self._routers.habit(stored)
        return stored

    async def enable_pipeline(self, name: str) -> None:
        self._mutate("enable")
        self._routers.pipelines[name].enabled = True

    async def disable_pipeline(self, name: str, drain: bool = True) -> int:
        self._mutate("disable")
        self._routers.pipelines[name].enabled = False
        return self._routers.pipelines[name].pending

    async def delete_pipeline(self, name: str, force: bool = False) -> None:
        self._mutate("delete")
        if force:
            self._routers.forced.append(name)
        self._routers.pipelines.pop(name, None)

    async def get_service_endpoints(self, name: str) -> list[Any]:
        self._check("GetServiceEndpoints")
        host = self._routers.hosts.get(name, f"{name}-svc")
        return [SimpleNamespace(endpoint=SimpleNamespace(host=host, port=50051))]

    async def deregister(self, service: str) -> None:
        self._check("Deregister")
        self._routers.registered.setdefault(self.address, set()).discard(service)

    def _mutate(self, what: str) -> None:
        self._check(f"{what.title()}Pipeline", leader=True)
        self._routers.mutations.append(what)
        self._routers.commit += 1


class KeeperDouble:
    """A registry keeper whose work is done at once."""

    def __init__(self, routers: Routers) -> None:
        self._routers = routers
        self.wanted: dict[str, tuple[Any, tuple[str, ...]]] = {}
        self.health: dict[str, Any] = {}
        """What goes along with the heartbeats, by service."""
        self.failing: dict[str, str] = {}
        self.slow: set[str] = set()
        """Addresses where registrations are still under way."""
        self.keeps: dict[str, Exception] = {}
        """Errors of nodes that cannot be told to forget, by address."""

    def want(self, registration: Any, addresses: Iterable[str], health: Any = None) -> None:
        self.health[registration.service_id] = health
        self.wanted[registration.service_id] = (registration, tuple(addresses))
        for services in self._routers.registered.values():
            services.discard(registration.service_id)
        for address in self.wanted[registration.service_id][1]:
            if self._done(address):
                self._routers.registered.setdefault(address, set()).add(registration.service_id)

    def state(self, service: str) -> Mapping[str, Any]:
        _, addresses = self.wanted.get(service, (None, ()))
        return {
            address: SimpleNamespace(registered=self._done(address), error=self.failing.get(address))
            for address in addresses
        }

    def _done(self, address: str) -> bool:
        return address not in self.failing and address not in self.slow

    def dismiss(self, service: str) -> None:
        self.wanted.pop(service, None)
        for services in self._routers.registered.values():
            services.discard(service)

    def forget(self, service: str) -> None:
        """Nobody is told: what is registered stays until its lease is over."""
        self.wanted.pop(service, None)

    async def drop(self, service: str) -> Mapping[str, Exception]:
        self.wanted.pop(service, None)
        for services in self._routers.registered.values():
            services.discard(service)
        return self.keeps
