"""The desired children, as values."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from controllers.cluster import children
from controllers.cluster.config import config_data, config_hash
from controllers.cluster.encryption import wanted_encryption
from controllers.cluster.statefulset import stateful_set, with_claims_of
from controllers.wiring.settings import ControllerSettings
from etl_operator.api import EtlRouterCluster
from etl_operator.sandbox.loops.endpoints import endpoint_slice
from informers.apiserver.admission.pod_standards import findings

SETTINGS = ControllerSettings()

ROUTER_KEYS = {
    "cluster.election_timeout_min_ms",
    "cluster.election_timeout_max_ms",
    "cluster.heartbeat_interval_ms",
    "cluster.snapshot_interval",
    "cluster.max_entries_per_append",
    "buffer.max_total_records",
    "buffer.max_per_source",
    "buffer.max_per_stage",
    "buffer.backpressure_threshold",
    "buffer.backpressure_resume_threshold",
    "grpc.max_message_size",
    "grpc.keepalive_interval_secs",
    "grpc.keepalive_timeout_secs",
    "metrics.enabled",
    "metrics.listen_addr",
}


def cluster(*, annotations: dict[str, str] | None = None, **spec: Any) -> EtlRouterCluster:
    metadata: dict[str, Any] = {"name": "prod", "namespace": "etl", "uid": "u", "generation": 1}
    if annotations:
        metadata["annotations"] = annotations
    return EtlRouterCluster.model_validate(
        {
            "apiVersion": "etl.router/v1",
            "kind": "EtlRouterCluster",
            "metadata": metadata,
            "spec": {"replicas": 3, **spec},
        }
    )


def pod_of(built: dict[str, Any]) -> Any:
    return built["spec"]["template"]["spec"]


def container_of(built: dict[str, Any]) -> Any:
    (container,) = pod_of(built)["containers"]
    return container


def environment_of(built: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value") for entry in container_of(built)["env"]}


def test_the_router_file_has_every_key_or_the_router_ignores_it() -> None:
    config = yaml.safe_load(config_data(cluster())["router.yaml"])
    assert {f"{section}.{key}" for section, keys in config.items() for key in keys} == ROUTER_KEYS


def test_the_readmes_timings_reach_the_router() -> None:
    built = cluster(raft={"electionTimeoutMs": 300, "heartbeatIntervalMs": 100})
    timings = yaml.safe_load(config_data(built)["router.yaml"])["cluster"]
    assert timings["election_timeout_min_ms"] == 300
    assert timings["election_timeout_max_ms"] >= timings["election_timeout_min_ms"]
    assert timings["heartbeat_interval_ms"] == 100


def test_types_are_the_ones_the_router_parses() -> None:
    config = yaml.safe_load(config_data(cluster())["router.yaml"])
    assert isinstance(config["buffer"]["backpressure_threshold"], float)
    assert isinstance(config["cluster"]["snapshot_interval"], int)
    assert config["metrics"] == {"enabled": True, "listen_addr": "0.0.0.0:9090"}


def test_pods_run_restricted() -> None:
    built = stateful_set(cluster(), SETTINGS, 3)
    security = pod_of(built)["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["fsGroup"] == 65532
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    own = container_of(built)["securityContext"]
    assert own["allowPrivilegeEscalation"] is False
    assert own["readOnlyRootFilesystem"] is True
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert pod_of(built)["automountServiceAccountToken"] is False
    assert findings("restricted", {}, pod_of(built)) == []


def test_members_start_together_and_are_replaced_only_by_the_operator() -> None:
    spec = stateful_set(cluster(), SETTINGS, 3)["spec"]
    assert spec["podManagementPolicy"] == "Parallel"
    assert spec["updateStrategy"] == {"type": "OnDelete"}
    assert spec["serviceName"] == "prod-headless"


def test_liveness_never_depends_on_the_quorum() -> None:
    container = container_of(stateful_set(cluster(), SETTINGS, 3))
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/health", "port": "http", "scheme": "HTTP"}
        assert container[probe]["timeoutSeconds"] > 5
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"


def test_the_peers_are_the_members_of_this_step() -> None:
    peers = environment_of(stateful_set(cluster(replicas=5), SETTINGS, 4))["RAFT_PEERS"].split(",")
    assert len(peers) == 4
    assert peers[3] == "4:prod-3.prod-headless.etl.svc.cluster.local:50052"


def test_identity_cannot_be_overridden_but_the_rest_can() -> None:
    env = [{"name": "RAFT_PEERS", "value": "evil"}, {"name": "EXTRA", "value": "1"}]
    built = stateful_set(cluster(env=env), SETTINGS, 3)
    names = [entry["name"] for entry in container_of(built)["env"]]
    assert names.count("RAFT_PEERS") == 1
    assert environment_of(built)["RAFT_PEERS"].startswith("1:prod-0.")
    assert environment_of(built)["EXTRA"] == "1"


def test_the_users_labels_do_not_break_the_selector() -> None:
    built = stateful_set(cluster(podLabels={"app.kubernetes.io/name": "x", "team": "y"}), SETTINGS, 3)
    labels = built["spec"]["template"]["metadata"]["labels"]
    assert labels["team"] == "y"
    selector = built["spec"]["selector"]["matchLabels"]
    assert selector.items() <= labels.items()


def test_arguments_follow_the_script() -> None:
    container = container_of(stateful_set(cluster(args=["--engine", "x"]), SETTINGS, 3))
    assert container["command"] == ["/bin/sh", "/etc/etl-router/start.sh"]
    assert container["args"] == ["--engine", "x"]


def test_an_image_is_taken_from_the_settings_when_the_spec_has_none() -> None:
    settings = ControllerSettings(router_image="registry/etl-router:9")
    assert container_of(stateful_set(cluster(), settings, 3))["image"] == "registry/etl-router:9"
    assert container_of(stateful_set(cluster(image="mine:1"), settings, 3))["image"] == "mine:1"


def test_without_metrics_there_is_no_port() -> None:
    built = stateful_set(cluster(metrics={"enabled": False}), SETTINGS, 3)
    assert "metrics" not in {port["name"] for port in container_of(built)["ports"]}
    assert not environment_of(built)["METRICS_PORT"]


def test_a_changed_file_makes_the_pods_outdated() -> None:
    before, after = config_data(cluster()), config_data(cluster(raft={"snapshotInterval": 5}))
    assert config_hash(before) != config_hash(after)
    assert config_hash(before) == config_hash(dict(reversed(before.items())))


def test_a_requested_restart_reaches_the_template() -> None:
    stamp = {"etl.router/restart-requested-at": "2027-01-01T00:00:00Z"}
    annotations = stateful_set(cluster(annotations=stamp), SETTINGS, 3)["spec"]["template"]["metadata"][
        "annotations"
    ]
    assert stamp.items() <= annotations.items()


def test_claim_templates_are_never_changed() -> None:
    live = stateful_set(cluster(storage={"size": "10Gi"}), SETTINGS, 3)
    live["spec"]["volumeClaimTemplates"][0]["spec"]["volumeMode"] = "Filesystem"
    grown = stateful_set(cluster(storage={"size": "20Gi"}), SETTINGS, 3)
    kept = with_claims_of(grown, live)
    assert kept["spec"]["volumeClaimTemplates"] == live["spec"]["volumeClaimTemplates"]


def test_an_unchanged_claim_template_is_sent_as_we_write_it() -> None:
    # Server defaults must not travel back into what we own, or the digest would move once for nothing.
    live = stateful_set(cluster(), SETTINGS, 3)
    live["spec"]["volumeClaimTemplates"][0]["spec"]["volumeMode"] = "Filesystem"
    live["spec"]["volumeClaimTemplates"][0]["status"] = {"phase": "Pending"}
    desired = stateful_set(cluster(), SETTINGS, 3)
    assert with_claims_of(desired, live) == desired


def test_volumes_go_only_where_the_spec_says_so() -> None:
    default = stateful_set(cluster(), SETTINGS, 3)["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert default == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    deleting = cluster(storage={"retentionPolicy": {"whenDeleted": "Delete"}})
    policy = stateful_set(deleting, SETTINGS, 3)["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert policy == {"whenDeleted": "Delete", "whenScaled": "Retain"}
    scaling = cluster(storage={"retentionPolicy": {"whenScaled": "Delete"}}, deletionPolicy="Delete")
    policy = stateful_set(scaling, SETTINGS, 3)["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert policy == {"whenDeleted": "Delete", "whenScaled": "Delete"}


def test_what_the_spec_says_of_pods_reaches_them() -> None:
    spread = {"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
    in_pod: dict[str, Any] = {
        "imagePullSecrets": [{"name": "pull"}],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "affinity": {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}
        },
        "topologySpreadConstraints": [spread],
        "priorityClassName": "high",
        "serviceAccountName": "own",
    }
    built = stateful_set(cluster(**in_pod, imagePullPolicy="Never"), SETTINGS, 3)
    assert {field: pod_of(built)[field] for field in in_pod} == in_pod
    assert container_of(built)["imagePullPolicy"] == "Never"


def test_an_image_loaded_into_the_nodes_is_used_whatever_its_tag() -> None:
    assert container_of(stateful_set(cluster(image="etl-router:latest"), SETTINGS, 1))["imagePullPolicy"] == (
        "IfNotPresent"
    )


def test_pods_spread_by_themselves_and_softly() -> None:
    pod = pod_of(stateful_set(cluster(), SETTINGS, 3))
    (zones,) = pod["topologySpreadConstraints"]
    assert (zones["topologyKey"], zones["whenUnsatisfiable"]) == (
        "topology.kubernetes.io/zone",
        "ScheduleAnyway",
    )
    (apart,) = pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert apart["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    for term in (zones, apart["podAffinityTerm"]):
        assert (
            term["labelSelector"]["matchLabels"].items()
            <= stateful_set(cluster(), SETTINGS, 3)["spec"]["template"]["metadata"]["labels"].items()
        )


def test_certificates_are_mounted_where_the_docs_say() -> None:
    secured = cluster(tls={"secretName": "own", "caSecretName": "ca"})
    built = stateful_set(secured, SETTINGS, 3, wanted_encryption(secured))
    volumes = {one["name"]: one.get("secret", {}).get("secretName") for one in pod_of(built)["volumes"]}
    mounts = {one["mountPath"]: one for one in container_of(built)["volumeMounts"]}
    for path, secret in (("/etc/etl-router-tls", "own"), ("/etc/etl-router-ca", "ca")):
        assert volumes[mounts[path]["name"]] == secret
        assert mounts[path]["readOnly"] is True
    assert "/etc/etl-router-tls" not in str(stateful_set(cluster(), SETTINGS, 3))


def test_the_durable_buffer_is_configured_and_its_credentials_are_mounted() -> None:
    nats = {"urls": ["nats://a:4222", "tls://b:4222"], "credentialsSecretName": "secret", "maxBytes": 2**21}
    made = cluster(buffer={"type": "Nats", "nats": nats})
    assert yaml.safe_load(config_data(made)["router.yaml"])["nats"] == {
        "urls": ["nats://a:4222", "tls://b:4222"],
        "prefix": "etl_prod",
        "credentials_dir": "/etc/etl-router-nats",
        "replicas": 3,
        "sync_always": False,
        "max_bytes": 2**21,
    }
    built = stateful_set(made, SETTINGS, 3)
    [volume] = [one for one in pod_of(built)["volumes"] if "secret" in one]
    assert volume["secret"] == {"secretName": "secret"}
    [mount] = [one for one in container_of(built)["volumeMounts"] if one["name"] == volume["name"]]
    assert mount == {"name": volume["name"], "mountPath": "/etc/etl-router-nats", "readOnly": True}
    assert "nats" not in config_data(cluster())["router.yaml"]
    assert "nats" not in str(stateful_set(cluster(), SETTINGS, 3))


def test_members_find_each_other_before_they_are_ready() -> None:
    spec = children.headless_service(cluster())["spec"]
    assert spec["clusterIP"] == "None"
    assert spec["publishNotReadyAddresses"] is True


def test_raft_is_not_offered_to_clients() -> None:
    spec = children.client_service(cluster(service={"type": "NodePort"}))["spec"]
    assert spec["type"] == "NodePort"
    assert [port["name"] for port in spec["ports"]] == ["grpc", "http", "metrics"]


def test_a_helper_with_a_port_of_the_same_name_gets_nothing_of_the_traffic() -> None:
    built = cluster(service={"grpcPort": 6001, "httpPort": 6003}, metrics={"enabled": True, "port": 6004})
    helper = {"name": "mesh", "ports": [{"name": name, "containerPort": 15000} for name in ("grpc", "http")]}
    template = stateful_set(built, SETTINGS, 1)["spec"]["template"]
    pod = {
        "metadata": {
            "name": "prod-0",
            "namespace": "etl",
            "uid": "p",
            "labels": template["metadata"]["labels"],
        },
        "spec": {**template["spec"], "containers": [helper, *template["spec"]["containers"]]},
        "status": {
            "podIP": "10.0.0.1",
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    for service, more in (
        (children.client_service(built), {}),
        (children.headless_service(built), {"raft": 50052}),
    ):
        service["metadata"]["uid"] = "s"
        made = endpoint_slice(service, [pod])
        assert made is not None
        assert {port["name"]: port["port"] for port in made["ports"]} == {
            "grpc": 6001,
            "http": 6003,
            "metrics": 6004,
            **more,
        }


@given(st.integers(1, 15))
def test_building_is_deterministic(members: int) -> None:
    built = cluster(
        podLabels={"b": "1", "a": "2"}, env=[{"name": "Z", "value": "1"}, {"name": "A", "value": "2"}]
    )
    assert stateful_set(built, SETTINGS, members) == stateful_set(built, SETTINGS, members)
    assert children.desired(built, members) == children.desired(built, members)
