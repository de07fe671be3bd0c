"""Settings of a router node: a file, the environment, the command line; the last one wins.

The published router's keys are mandatory as a set: with one missing or of a wrong type the whole file and
environment are put aside with a warning and the defaults hold. Keys under ``node`` are this node's own; each
is optional and a wrong one is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

ENV_PREFIX = "ETL_ROUTER__"

PackagePrefix = Literal["etl", "conveyor", "conveyor_etl"]
LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
FollowerAnswer = Literal["unavailable", "internal", "response"]
ClientAuth = Literal["none", "require"]
Plaintext = Literal["deny", "allow"]
Engine = Literal["auto", "embedded", "etcd"]

STREAM_BYTES = 2**20
"""What gRPC holds of a stream that is not read: the window of a node's server. Part of ``buffer_bytes``."""


class SettingsError(Exception):
    """The settings cannot be used; the text says where and why."""


class Cluster(msgspec.Struct, frozen=True):
    """``cluster``: Raft's timing, in milliseconds, and its log."""

    election_timeout_min_ms: int = 150
    election_timeout_max_ms: int = 300
    heartbeat_interval_ms: int = 50
    snapshot_interval: int = 10_000
    """Log entries between two snapshots."""
    max_entries_per_append: int = 100
    """Accepted, not used: entries are batched by size."""


class Buffer(msgspec.Struct, frozen=True):
    """``buffer``: records that may be under way on this node; ``node.buffer_bytes`` bounds their bytes."""

    max_total_records: int = 1_000_000
    max_per_source: int = 100_000
    max_per_stage: int = 100_000
    """Of one pipeline."""
    backpressure_threshold: float = 0.8
    """Share of a limit from which sources are asked to pause."""
    backpressure_resume_threshold: float = 0.6
    """Share below which they are asked to continue."""


class Grpc(msgspec.Struct, frozen=True):
    """``grpc``: the main listener."""

    max_message_size: int = 67_108_864
    """Bytes of a message, of sources and of services, both ways."""
    keepalive_interval_secs: int = 10
    keepalive_timeout_secs: int = 5


class Metrics(msgspec.Struct, frozen=True):
    """``metrics``: accepted; the listener is opened by ``--metrics-addr`` alone."""

    enabled: bool = True
    listen_addr: str = "0.0.0.0:9090"


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``node``: how this node behaves where published routers differ, and faults to order."""

    router_admin: bool = True
    """False: no RouterAdmin, as in every published router; its calls answer UNIMPLEMENTED."""
    health_service: bool = True
    """False: no ``grpc.health.v1``, as in every published router."""
    engine: Engine = "auto"
    """Consensus. ``auto``: that of the data directory; if it is empty, etcd if there is a program."""
    etcd_binary: str = ""
    """The etcd program; empty: ``etcd`` on PATH."""
    etcd_endpoints: str = ""
    """URLs of an etcd that runs elsewhere, separated by commas; empty: the node starts its own."""
    etcd_prefix: str = "etl-router/"
    """Begin of all keys there: a cluster of nodes has a prefix of its own."""
    etcd_quota_bytes: int = 0
    """Most that the node's own etcd stores; 0: half of the disk, at most 8 GiB."""
    package_prefix: PackagePrefix = "etl"
    """First part of the protobuf package names."""
    follower_answer: FollowerAnswer = "unavailable"
    """A write on a follower: status UNAVAILABLE, status INTERNAL, or OK with ``success=false``."""
    strict_ids: bool = False
    """True: Update, Delete, Enable and Disable of an unknown pipeline answer ``success=false``."""
    data_workers: Annotated[int, msgspec.Meta(ge=0, le=64)] = 1
    """Processes for records. 0: they are handled in the control process, beside Raft."""
    log_format: LogFormat = "text"
    """Of log lines: for people, or one JSON object per line."""
    log_level: LogLevel = "info"
    """What is below is left out."""
    reflection: bool = False
    """True: gRPC server reflection, so that clients can list services and messages."""
    lease_seconds: float = 30.0
    """How long a registration lasts without a heartbeat."""
    buffer_bytes: int = 67_108_864
    """Bytes of records that may be under way; a source may have a quarter of them, a pipeline half."""
    call_seconds: float = 30.0
    """Deadline of a call of a transform or a sink."""
    longest_retry_seconds: float = 30.0
    """Longest pause of a service that does not answer."""
    answer_delay_ms: int = 0
    """Fault: every gRPC answer of the control services is late by this much."""
    drop_heartbeats: bool = False
    """Fault: registry heartbeats are read and not answered."""
    tls_cert: str = ""
    """PEM file: certificate of the gRPC port. Empty: no TLS."""
    tls_key: str = ""
    """PEM file: its key."""
    tls_ca: str = ""
    """PEM file: who signs the certificates of clients."""
    tls_client_auth: ClientAuth = "none"
    """``require``: only clients with a certificate of ``tls_ca`` may call."""
    tls_plaintext: Plaintext = "deny"
    """``allow``: the gRPC and the Raft port accept connections without TLS as well, and members that have no
    TLS are dialled without it."""
    service_tls_dir: str = ""
    """Directory with one directory for each Secret that services name, with its ``ca.crt``, ``tls.crt`` and
    ``tls.key``."""


class Nats(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``nats``: the durable buffer on NATS JetStream; without ``urls`` records are in memory only."""

    urls: tuple[str, ...] = ()
    """Servers of one NATS cluster; in the environment separated by commas."""
    prefix: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{1,128}$")] = "etl-router"
    """Of all streams and subjects. Members of a cluster have the same, and no other cluster has it."""
    credentials_dir: str = ""
    """Directory with any of ``nats.creds``, ``token``, ``username`` and ``password``, ``ca.crt``, ``tls.crt``
    and ``tls.key``. Empty: no credentials."""
    replicas: Annotated[int, msgspec.Meta(ge=1, le=5)] = 3
    """Servers that store each record."""
    sync_always: bool = False
    """All servers have ``sync_interval: always``. A client cannot find that out; required with fewer than 3
    replicas."""
    max_bytes: Annotated[int, msgspec.Meta(ge=2**20)] = 2**30
    """Bytes of one stream: of the records of one pipeline, or of all dead letters."""
    ack_wait_seconds: Annotated[float, msgspec.Meta(ge=0.5)] = 30.0
    """How long after the end of a worker its records are delivered by another one."""


class Settings(msgspec.Struct, frozen=True):
    """Everything in the configuration file."""

    cluster: Cluster = Cluster()
    buffer: Buffer = Buffer()
    grpc: Grpc = Grpc()
    metrics: Metrics = Metrics()
    node: Node = Node()
    nats: Nats = Nats()


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and what is to be said about them once logging works."""

    settings: Settings
    warnings: tuple[str, ...]


_MANDATORY: Mapping[str, type[msgspec.Struct]] = {
    "cluster": Cluster,
    "buffer": Buffer,
    "grpc": Grpc,
    "metrics": Metrics,
}


def load(path: Path, environment: Mapping[str, str], node_flags: Mapping[str, Any]) -> Loaded:
    """Settings from a file (missing: defaults), ``ETL_ROUTER__SECTION__KEY`` variables and flags.

    :param node_flags: keys of ``node`` given on the command line.
    :raises SettingsError: the file cannot be parsed, or a key of ``node`` or ``nats`` is wrong.
    """
    values, warnings = _read(path)
    overrides = _from_environment(environment)
    own = {**values.pop("node", {}), **overrides.pop("node", {}), **node_flags}
    nats = _nats({**values.pop("nats", {}), **overrides.pop("nats", {})})
    try:
        node = msgspec.convert(own, Node, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"node: {error}") from error
    if node.reflection and node.package_prefix != "etl":
        raise SettingsError(
            f"node: reflection describes messages of the package prefix etl, not {node.package_prefix}: "
            "remove reflection or package_prefix"
        )
    if unfit := _tls_problem(node):
        raise SettingsError(unfit)
    # A missing file stands for all defaults, so that single variables can change it.
    if not values:
        values = msgspec.to_builtins(Settings())
    for section, changes in overrides.items():
        values[section] = {**values.get(section, {}), **changes}
    problem = _missing_key(values)
    sections: dict[str, Any] = {}
    if problem is None:
        try:
            for name, model in _MANDATORY.items():
                sections[name] = msgspec.convert(values[name], model, strict=not overrides)
        except msgspec.ValidationError as error:
            problem = str(error)
    if problem is not None:
        sections = {}
        warnings.append(f"the configuration is ignored and defaults are used: {problem}")
    return Loaded(Settings(**sections, node=node, nats=nats), tuple(warnings))


def _nats(values: dict[str, Any]) -> Nats:
    if isinstance(values.get("urls"), str):
        values["urls"] = [url for url in values["urls"].split(",") if url]
    try:
        nats = msgspec.convert(values, Nats, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"nats: {error}") from error
    if nats.urls and find_spec("nats") is None:
        raise SettingsError(
            "nats.urls: the package nats-py is not installed; "
            "run pip install '.[nats]' in a clone of etl-operator"
        )
    if nats.urls and nats.replicas < 3 and not nats.sync_always:
        raise SettingsError(
            f"nats.replicas: {nats.replicas} is not enough: by default a NATS server flushes its files every "
            "two minutes, so that records in fewer than 3 servers can be lost after they were acknowledged. "
            "Set nats.replicas to 3 or 5, or set `sync_interval: always` in the configuration of all NATS "
            "servers and nats.sync_always to true"
        )
    return nats


def _tls_problem(node: Node) -> str:
    """Why the settings of TLS do not fit together, or ""."""
    if bool(node.tls_cert) != bool(node.tls_key):
        return "--tls-cert and --tls-key must be given together"
    if node.tls_ca and not node.tls_cert:
        return "--tls-ca needs --tls-cert and --tls-key"
    if node.tls_client_auth == "require" and not node.tls_ca:
        return "--tls-client-auth require needs --tls-ca, which signs the certificates of clients"
    return ""


def _read(path: Path) -> tuple[dict[str, Any], list[str]]:
    if not path.is_file():
        return {}, [f"there is no configuration file {path}; defaults are used"]
    try:
        values = _parse(path)
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from error
    if not isinstance(values, dict) or not all(isinstance(part, dict) for part in values.values()):
        raise SettingsError(f"{path} does not hold sections of keys")
    return values, []


def _parse(path: Path) -> Any:
    """By extension, as the published router does."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        import tomllib

        return tomllib.loads(text)
    if path.suffix == ".json":
        return msgspec.json.decode(text)
    import yaml

    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name, value in environment.items():
        if name.startswith(ENV_PREFIX):
            section, _, key = name.removeprefix(ENV_PREFIX).lower().partition("__")
            if key:
                found.setdefault(section, {})[key] = value
    return found


def _missing_key(values: Mapping[str, Any]) -> str | None:
    for section, model in _MANDATORY.items():
        for key in model.__struct_fields__:
            if key not in values.get(section, {}):
                return f"{section}.{key} is missing"
    return None
