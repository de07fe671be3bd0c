"""Creating what says which version it is of."""

from __future__ import annotations

import pytest

from e2e.conformance.asking import found
from informers.client import HttpTransport
from informers.objects import Object

MAPS = "/api/v1/namespaces/default/configmaps"
WHY = "resourceVersion should not be set on objects to be created"


def of_version(version: str, **name: str) -> Object:
    metadata = {**(name or {"name": "versioned"}), "resourceVersion": version}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


@pytest.mark.parametrize("name", [{"name": "versioned"}, {"generateName": "versioned-"}])
async def test_a_version_is_refused(transport: HttpTransport, name: dict[str, str]) -> None:
    code, said = await found(transport, "POST", MAPS, body=of_version("5", **name))
    assert (code, said["message"], said.get("reason")) == (500, WHY, None)


async def test_what_is_wrong_besides_comes_first(transport: HttpTransport) -> None:
    code, said = await found(transport, "POST", MAPS, body=of_version("5", name="BAD"))
    assert (code, said["reason"]) == (422, "Invalid")
    absent = "/api/v1/namespaces/absent/configmaps"
    assert (await found(transport, "POST", absent, body=of_version("5")))[0] == 404


@pytest.mark.parametrize("version", ["", "0", "00", "x", "-1", " 5", "18446744073709551616"])
async def test_what_no_object_has_is_no_version(transport: HttpTransport, version: str) -> None:
    code, made = await found(transport, "POST", MAPS, body=of_version(version))
    await found(transport, "DELETE", f"{MAPS}/versioned")
    assert code == 201
    assert made["metadata"]["resourceVersion"].isdecimal()


async def test_a_dry_run_does_not_get_so_far(transport: HttpTransport) -> None:
    assert (await found(transport, "POST", MAPS, ("dryRun", "All"), body=of_version("5")))[0] == 201
