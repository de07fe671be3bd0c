from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from etl_operator.node.settings import Cluster, Settings, SettingsError, load
from tests.node.cluster import CONFIG


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def changed(section: str, key: str, value: Any = None) -> dict[str, Any]:
    config: dict[str, Any] = copy.deepcopy(CONFIG)
    if value is None:
        del config[section][key]
    else:
        config[section][key] = value
    return config


def test_a_whole_file_is_taken(tmp_path: Path) -> None:
    loaded = load(written(tmp_path / "router.yaml", CONFIG), {}, {})
    assert loaded.settings.cluster.election_timeout_min_ms == 500
    assert not loaded.warnings


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("cluster", "heartbeat_interval_ms", None),
        ("metrics", "listen_addr", None),
        ("cluster", "election_timeout_min_ms", "soon"),
    ],
)
def test_one_bad_mandatory_key_puts_everything_aside(
    tmp_path: Path, section: str, key: str, value: Any
) -> None:
    loaded = load(written(tmp_path / "router.yaml", changed(section, key, value)), {}, {})
    assert loaded.settings == Settings()
    assert loaded.settings.cluster == Cluster(150, 300, 50, 10_000, 100)
    assert "defaults are used" in loaded.warnings[0]


def test_a_missing_file_means_defaults(tmp_path: Path) -> None:
    loaded = load(tmp_path / "none.yaml", {}, {})
    assert loaded.settings == Settings()
    assert "no configuration file" in loaded.warnings[0]


def test_the_environment_overrides_single_keys_with_or_without_a_file(tmp_path: Path) -> None:
    env = {"ETL_ROUTER__CLUSTER__HEARTBEAT_INTERVAL_MS": "70", "ETL_ROUTER_SERVICE_HOST": "10.0.0.1"}
    with_file = load(written(tmp_path / "router.yaml", CONFIG), env, {}).settings
    assert (with_file.cluster.heartbeat_interval_ms, with_file.cluster.election_timeout_min_ms) == (70, 500)
    without = load(tmp_path / "none.yaml", env, {}).settings
    assert (without.cluster.heartbeat_interval_ms, without.cluster.election_timeout_min_ms) == (70, 150)


def test_own_keys_come_from_file_then_environment_then_flags(tmp_path: Path) -> None:
    node = {"lease_seconds": 1, "strict_ids": True, "package_prefix": "conveyor"}
    file = written(tmp_path / "router.yaml", {**CONFIG, "node": node})
    env = {"ETL_ROUTER__NODE__LEASE_SECONDS": "2", "ETL_ROUTER__NODE__STRICT_IDS": "false"}
    loaded = load(file, env, {"lease_seconds": 3.0}).settings.node
    assert (loaded.lease_seconds, loaded.strict_ids, loaded.package_prefix) == (3.0, False, "conveyor")


@pytest.mark.parametrize("node", [{"lease_secs": 1}, {"follower_answer": "maybe"}])
def test_a_wrong_key_of_its_own_is_an_error(tmp_path: Path, node: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="node"):
        load(written(tmp_path / "router.yaml", {**CONFIG, "node": node}), {}, {})


@pytest.mark.parametrize("text", ["cluster: [", "just words", "- a\n- list", "cluster: 3"])
def test_a_file_that_is_no_configuration_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"router\.yaml"):
        load(written(tmp_path / "router.yaml", text), {}, {})


def test_other_formats_go_by_extension(tmp_path: Path) -> None:
    toml = written(tmp_path / "router.toml", "[node]\nlease_seconds = 5\n")
    json = written(tmp_path / "router.json", '{"node": {"lease_seconds": 6}}')
    assert load(toml, {}, {}).settings.node.lease_seconds == 5
    assert load(json, {}, {}).settings.node.lease_seconds == 6


def test_the_durable_buffer_is_off_until_servers_are_named(tmp_path: Path) -> None:
    assert load(tmp_path / "none.yaml", {}, {}).settings.nats.urls == ()
    file = written(tmp_path / "router.yaml", {**CONFIG, "nats": {"urls": ["nats://a", "nats://b"]}})
    nats = load(file, {"ETL_ROUTER__NATS__PREFIX": "ns_c"}, {}).settings.nats
    assert (nats.urls, nats.prefix, nats.replicas) == (("nats://a", "nats://b"), "ns_c", 3)
    nats = load(file, {"ETL_ROUTER__NATS__URLS": "nats://c,nats://d"}, {}).settings.nats
    assert nats.urls == ("nats://c", "nats://d")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"replicas": 1}, "flushes its files every two minutes"),
        ({"replicas": 2}, "sync_interval: always"),
        ({"prefix": "a b"}, "nats: "),
        ({"max_bytes": 5}, "nats: "),
        ({"servers": []}, "nats: "),
    ],
)
def test_a_durable_buffer_that_could_lose_records_is_refused(
    tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    file = written(tmp_path / "router.yaml", {**CONFIG, "nats": {"urls": ["nats://a"], **fields}})
    with pytest.raises(SettingsError, match=said):
        load(file, {}, {})


def test_fewer_replicas_are_taken_with_the_statement_that_servers_flush(tmp_path: Path) -> None:
    fields = {"urls": ["nats://a"], "replicas": 1, "sync_always": True}
    file = written(tmp_path / "router.yaml", {**CONFIG, "nats": fields})
    assert load(file, {}, {}).settings.nats.replicas == 1
