"""What is installed here is what pyproject.toml declares, and what is imported is declared."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.install.manifests import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS: Mapping[str, list[str]] = PROJECT["project"]["optional-dependencies"]
GROUPS: Mapping[str, list[str]] = PROJECT["dependency-groups"]
LOCKS = ROOT / ".ci" / "requirements"
OWN = {"etl_operator", "informers", "controllers", "tests", "e2e", "benchmarks", "docs"}
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: ; [^\\]+)? \\$")
_HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


def closure(*extras: str) -> Iterator[Requirement]:
    """The declared dependencies, and those of these extras."""
    texts = [*PROJECT["project"]["dependencies"], *(text for extra in extras for text in EXTRAS[extra])]
    for requirement in map(Requirement, texts):
        if requirement.name == PROJECT["project"]["name"]:
            yield from closure(*requirement.extras)
        else:
            yield requirement


def group(name: str) -> Iterator[Requirement]:
    return map(Requirement, GROUPS[name])


@cache
def locked(name: str) -> Mapping[str, Version]:
    """The versions in a file, which has hashes for each and nothing else in it."""
    pins: dict[str, Version] = {}
    hashes: dict[str, int] = {}
    current = ""
    for line in (LOCKS / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        if found := _PIN.match(line):
            current = found["name"]
            pins[current] = Version(found["version"])
        else:
            assert _HASH.match(line), f"{name}.txt: neither a version nor a hash: {line}"
            hashes[current] = hashes.get(current, 0) + 1
    assert hashes.keys() == pins.keys()
    return pins


def names(requirements: Iterable[Requirement]) -> set[str]:
    return {canonicalize_name(one.name) for one in requirements}


SETS: Mapping[str, list[Requirement]] = {
    "operator": list(closure("backup", "tracing")),
    "router": list(group("router-image")),
    "service": list(group("service-image")),
    "sandbox": list(closure("sandbox")),
    "dev": [*closure("dev"), *group("build"), *group("installer")],
    "build": list(group("build")),
    "installer": list(group("installer")),
}


def test_there_is_a_file_for_every_set() -> None:
    assert {file.stem for file in LOCKS.glob("*.txt")} == SETS.keys()


@pytest.mark.parametrize("name", SETS)
def test_the_lock_agrees_with_what_is_declared(name: str) -> None:
    """Else: make lock."""
    pins = locked(name)
    for requirement in SETS[name]:
        version = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{name}.txt has {requirement.name} {version}"


@pytest.mark.parametrize("name", SETS)
def test_the_lock_has_what_is_needed_and_no_more(name: str) -> None:
    """Else: make lock."""
    pins = locked(name)
    reached: set[str] = set()
    open_ends = [(one.name, one.extras) for one in SETS[name]]
    while open_ends:
        found, extras = open_ends.pop()
        reached.add(canonicalize_name(found))
        try:
            distribution = metadata.distribution(found)
        except metadata.PackageNotFoundError:
            pytest.skip(f"{found} is not installed")
        if Version(distribution.version) != pins.get(canonicalize_name(found)):
            pytest.skip("other versions are installed than the locked ones")
        open_ends += [
            (one.name, one.extras)
            for one in map(Requirement, distribution.requires or ())
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in (*extras, ""))
        ]
    assert reached == {one for one in pins if _applies(name, one)}


def _applies(file: str, name: str) -> bool:
    text = (LOCKS / f"{file}.txt").read_text(encoding="utf-8")
    (line,) = (one for one in text.splitlines() if one.startswith(f"{name}=="))
    marker = Requirement(line.removesuffix("\\")).marker
    return marker is None or marker.evaluate()


@pytest.mark.parametrize("name", sorted(SETS.keys() - {"dev"}))
def test_every_set_has_the_versions_that_are_tested(name: str) -> None:
    assert locked(name).items() <= locked("dev").items()


def test_what_builds_the_package_is_locked() -> None:
    assert names(map(Requirement, PROJECT["build-system"]["requires"])) <= locked("build").keys()


# -- imports ---------------------------------------------------------------------------------------


def imported(*places: str) -> Iterator[tuple[str, str]]:
    """The packages that files import from elsewhere, wherever in a file that is, and the files."""
    for place in map(ROOT.joinpath, places):
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            for module in _modules(ast.parse(file.read_bytes())):
                name = module.partition(".")[0]
                if name not in sys.stdlib_module_names | OWN and not (file.parent / f"{name}.py").exists():
                    yield _package(module), file.relative_to(ROOT).as_posix()


def _modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            if node.module in _NAMESPACES:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


_NAMESPACES = {"google", "opentelemetry"}
"""Packages of several distributions."""


def _package(module: str) -> str:
    first, _, rest = module.partition(".")
    if first in _NAMESPACES:
        return f"{first}.{rest.partition('.')[0]}"
    return first


@cache
def distributions(package: str) -> set[str]:
    """The names under which a package can be declared."""
    if package == "opentelemetry.exporter":
        return {"opentelemetry-exporter-otlp-proto-http"}
    if package.startswith("opentelemetry."):
        return {"opentelemetry-sdk"}
    if package == "google.protobuf":
        return {"protobuf"}
    return {canonicalize_name(one) for one in _installed().get(package, [package])}


@cache
def _installed() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


OPTIONAL = {
    "etl_operator/cli/backup": "backup",
    "etl_operator/cli/stream.py": "nats",
    "etl_operator/sandbox": "sandbox",
    "informers/apiserver": "sandbox",
    "etl_operator/node": "router",
    "etl_operator/services": "services",
    "etl_operator/services/sink_sql.py": "sql",
    "informers/client/kubeconfig.py": "auth-providers",
    "informers/tracing.py": "tracing",
}
"""Where the product imports what an extra brings."""


def test_every_import_of_the_product_is_declared() -> None:
    for package, file in imported("informers", "controllers", "etl_operator"):
        extras = [extra for place, extra in OPTIONAL.items() if file.startswith(place)]
        allowed = names(closure(*extras))
        assert distributions(package) & allowed, f"{file} imports {package}, which is not declared for it"


def test_every_import_of_the_tests_is_declared() -> None:
    declared = names(closure("dev"))
    for package, file in imported("tests", "e2e", "docs", "benchmarks", "protos", ".ci"):
        assert distributions(package) & declared, f"{file} imports {package}, which is not declared"


def test_the_routers_image_has_all_that_it_imports() -> None:
    image = names(group("router-image"))
    library = ("informers/listener.py", "informers/logs.py", "informers/objects.py")
    parts = ("etl_operator/node", "etl_operator/probes.py", "etl_operator/logs.py", "etl_operator/router/pb")
    for package, file in imported(*parts, *library):
        assert distributions(package) & image, f"{file} imports {package}, which its image does not have"


def test_the_services_image_has_all_that_it_imports() -> None:
    image = names(group("service-image"))
    places = ("etl_operator/services", "etl_operator/probes.py", "etl_operator/router/pb")
    for package, file in imported(*places, "etl_operator/router/channels.py"):
        assert distributions(package) & image, f"{file} imports {package}, which its image does not have"
