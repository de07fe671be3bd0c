"""What a body decodes to is bounded, and whatever it is, it is answered with what is wrong."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from etl_operator.sandbox.http.content.negotiation import decode_body
from etl_operator.sandbox.http.content.yamlbody import YamlError, load
from etl_operator.sandbox.http.server import EmbeddedServer
from informers.apiserver.errors import StatusError
from informers.apiserver.errors.bounds import MAX_BODY, MAX_DEPTH
from informers.apiserver.writing.patch_formats import json_patch
from tests.definitions import definition, with_spec
from tests.sandbox.http.serving import serving

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
GADGETS = "/apis/bodies.test/v1/namespaces/default/gadgets"
DEFINITION = definition(
    "Gadget", "bodies.test", with_spec({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
)
JSON, YAML = "application/json", "application/yaml"
HEAD = "apiVersion: bodies.test/v1\nkind: Gadget\nmetadata: {name: g}\nspec:\n"


def gadget(spec: str) -> str:
    return (
        '{"apiVersion": "bodies.test/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": ' + spec + "}"
    )


def nested(depth: int) -> str:
    return gadget('{"a":' * depth + "1" + "}" * depth)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with serving() as server, session_of(server) as session:
        async with session.post(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", json=DEFINITION
        ) as response:
            assert response.status == 201
        while True:
            async with session.get(GADGETS) as response:
                if response.status == 200:
                    break
        yield session


def session_of(server: EmbeddedServer) -> aiohttp.ClientSession:
    context = ssl.create_default_context(cadata=server.ca_pem.decode())
    token = server.admin_kubeconfig()["users"][0]["user"]["token"]
    return aiohttp.ClientSession(
        server.url,
        headers={"Authorization": f"Bearer {token}"},
        connector=aiohttp.TCPConnector(ssl=context),
    )


async def send(
    http: aiohttp.ClientSession,
    body: bytes | str,
    media: str = YAML,
    *,
    path: str = GADGETS,
    method: str = "POST",
    **headers: str,
) -> tuple[int, dict[str, Any]]:
    data = body.encode() if isinstance(body, str) else body
    # Compressed already, where a header says so.
    async with http.request(
        method,
        path,
        data=io.BytesIO(data),
        headers={"Content-Type": media, **headers},
        skip_auto_headers={"Content-Encoding"},
    ) as response:
        return response.status, await response.json(content_type=None)


def aliases(levels: int) -> str:
    lines = ["    a: &a [" + ", ".join(["lol"] * 10) + "]"]
    names = "abcdefghijkl"
    for before, name in itertools.pairwise(names[: levels + 1]):
        lines.append(f"    {name}: &{name} [{', '.join(['*' + before] * 10)}]")
    return HEAD + "\n".join(lines)


async def test_aliases_stand_for_no_more_than_a_real_server_takes(http: aiohttp.ClientSession) -> None:
    # kube-apiserver 1.37 takes three levels of ten and refuses the fourth.
    status, _ = await send(http, aliases(2))
    assert status == 201
    for levels in (3, 5, 11):
        status, said = await send(http, aliases(levels))
        assert (status, said["reason"]) == (400, "BadRequest")
        assert "document contains excessive aliasing" in said["message"]


async def test_few_aliases_of_a_large_text_are_refused_for_their_size(http: aiohttp.ClientSession) -> None:
    text = HEAD + "  a: &a " + "x" * 1_000_000 + "\n  b: [*a, *a, *a]\n"
    status, said = await send(http, text)
    assert (status, said["reason"]) == (413, "RequestEntityTooLarge")


async def test_an_anchor_that_contains_itself_is_refused(http: aiohttp.ClientSession) -> None:
    status, said = await send(http, HEAD + "  a: &a {x: *a}\n")
    assert status == 400
    assert "anchor 'a' value contains itself" in said["message"]


@pytest.mark.parametrize("media", [JSON, YAML])
@pytest.mark.parametrize("depth", [MAX_DEPTH - 2, MAX_DEPTH + 1, 600, 9_000, 100_000])
async def test_what_nests_deep_is_taken_or_refused(
    http: aiohttp.ClientSession, depth: int, media: str
) -> None:
    status, said = await send(http, nested(depth), media)
    if depth < MAX_DEPTH:
        assert status == 201, said
        async with http.get(f"{GADGETS}/g", headers={"Accept": YAML}) as response:
            assert response.status == 200
        assert (await send(http, nested(depth), f"{YAML[:-4]}apply-patch+yaml", **APPLY))[0] == 200
    else:
        assert status == 400
        assert f"{MAX_DEPTH} levels" in said["message"]


APPLY: dict[str, Any] = {"method": "PATCH", "path": f"{GADGETS}/g?fieldManager=a&force=true"}


@pytest.mark.parametrize("flow", ["[", "{a: ", "- ", "? "])
async def test_deep_yaml_does_not_end_the_server(http: aiohttp.ClientSession, flow: str) -> None:
    status, said = await send(http, HEAD + "  v: " + flow * 200_000)
    assert (status, said["kind"]) == (400, "Status")
    async with http.get("/healthz") as response:
        assert response.status == 200


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "foo"])
async def test_bodies_are_read_as_they_come(http: aiohttp.ClientSession, coding: str) -> None:
    # A real server does not look at the coding of a body: what is JSON is JSON, and what is gzip is none.
    body = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c-{coding}"}}).encode()
    header = {"Content-Encoding": coding}
    assert (await send(http, body, JSON, path=CONFIG_MAPS, **header))[0] == 201
    for broken in (gzip.compress(body), gzip.compress(body)[:20], gzip.compress(b" " * 50_000_000)):
        status, said = await send(http, broken, JSON, path=CONFIG_MAPS, **header)
        assert (status, said["reason"]) == (400, "BadRequest")


async def test_no_object_becomes_larger_than_the_store_takes(http: aiohttp.ClientSession) -> None:
    status, said = await send(http, gadget('{"a": "' + "x" * 1_600_000 + '"}'), JSON)
    # The status a real server gives: its store says no.
    assert (status, said["message"]) == (500, "etcdserver: request is too large")
    assert (await send(http, gadget('{"a": "' + "x" * 1_400_000 + '"}'), JSON))[0] == 201
    status, said = await send(http, b"x" * (MAX_BODY + 1), JSON)
    assert (status, said["message"]) == (413, f"Request entity too large: limit is {MAX_BODY}")


def test_a_json_patch_cannot_make_much_of_little() -> None:
    obj = {"kind": "Gadget", "spec": {"a": "x" * 1000}}
    bomb = [{"op": "copy", "from": "/spec", "path": f"/spec/c{n}"} for n in range(40)]
    with pytest.raises(StatusError) as refused:
        json_patch(obj, bomb)
    assert refused.value.code == 422
    assert json_patch(obj, bomb[:5])["spec"]["c4"]["c3"]["a"] == "x" * 1000
    ladder = [{"op": "add", "path": "/spec" + "/a" * n, "value": {}} for n in range(1, MAX_DEPTH + 2)]
    with pytest.raises(StatusError) as refused:
        json_patch(obj, ladder)
    assert refused.value.code == 400


def test_patches_that_make_no_sense_are_refused() -> None:
    for operations in (
        [{"op": 1, "path": "/a"}],
        [{"op": "add", "path": 1, "value": 1}],
        [{"op": "copy", "path": "/spec/q"}],
        [{"op": "copy", "from": 1, "path": "/spec/q"}],
        [{"op": "add", "path": "/spec/l/" + "1" * 5000, "value": 1}],
        [{"op": "remove", "path": ""}],
        [{"op": "replace", "path": "", "value": 1}],
    ):
        with pytest.raises(StatusError) as refused:
            json_patch({"kind": "Gadget", "spec": {"l": [1]}}, operations)
        assert refused.value.code in (400, 422)


# As kube-apiserver 1.37.2 read them.
READ: dict[str, Any] = {
    "y": True, "n": False, "Off": False, "~": None, "1:30": "1:30", "0o17": 15, "017": 15, "0b11": 3,
    "0x1F": 31, "1_000": 1000, "1e3": 1000, "1e400": "1e400", "1" * 30: 1.111111111111111e29,
    "2020-01-01": "2020-01-01",
    "!!str 1": "1", "!!int '1'": 1, "!!set {a, b}": {"a": None, "b": None}, "!!binary aGk=": "hi",
    "!foo bar": "bar", "!!python/object:os.system x": "x", "{1: a}": {"1": "a"}, "{1.5: a}": {"1.5": "a"},
    "{true: a}": {"true": "a"}, "{y: a}": {"true": "a"}, "{a: 1, a: 2}": {"a": 2},
    "{<<: {a: 1}, b: 2}": {"a": 1, "b": 2}, "{<<: [{a: 1}, {a: 2, c: 3}], b: 2}": {"a": 1, "b": 2, "c": 3},
    "=": "=", "<<": "<<", "1.": 1, "._1": "._1", "0x": "0x", "0b2": "0b2", "-.5": -0.5, "NaN": "NaN",
    '"\\0"': "\0", "[a,]": ["a"], "{a}": {"a": None}, "'1'": "1", "|\n    a\n    b": "a\nb\n",
}  # fmt: skip


@pytest.mark.parametrize("text", READ)
def test_yaml_means_what_it_means_to_a_real_server(text: str) -> None:
    assert load(f"v: {text}\n---\nv: another\n".encode()) == {"v": READ[text]}


@pytest.mark.parametrize(
    "text",
    [".inf", "-.inf", ".nan", "{~: a}", "{[a]: b}", "{<<: 1}", "*unknown", "!!null x", "!!int x",
     '"\\ud800"', "\xff\t[", "a:\n\t b: 1"],
)  # fmt: skip
def test_yaml_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(YamlError):
        load(f"v: {text}\n".encode("latin-1"))


class _Quoting(yaml.SafeDumper):
    """Texts in quotes: PyYAML takes fewer texts for numbers and truth values than real servers."""


_Quoting.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)


@given(JSON_VALUES)
def test_what_is_written_as_yaml_is_read_again(value: Any) -> None:
    assert load(yaml.dump(value, Dumper=_Quoting, allow_unicode=True).encode()) == value


@given(
    st.binary(max_size=200) | st.text(alphabet="{}[]&*a<: -?!|>'\"\n\t1.,#%@`~=", max_size=60).map(str.encode)
)
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for media in (JSON, YAML):
        try:
            value = decode_body(raw, media)
        except StatusError as error:
            assert error.code in (400, 413)
        else:
            json.dumps(value, allow_nan=False)
