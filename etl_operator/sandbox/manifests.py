"""Reading manifests: YAML files, directories, and kustomizations that only list resources.

This is deliberately not kustomize. A ``kustomization.yaml`` with anything but ``resources`` is
refused, because ignoring a transformer would install something else than the author meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from informers.objects import Object

_KUSTOMIZATION = "kustomization.yaml"
_UNDERSTOOD = frozenset({"apiVersion", "kind", "resources"})


class ManifestError(ValueError):
    """A manifest cannot be read; the message names the file and what is wrong with it."""


def load_manifests(path: Path) -> list[Object]:
    """The objects of one file, of a kustomization, or of a directory's ``*.yaml`` in name order.

    :raises ManifestError: when a file is missing, is not YAML, or holds something else than objects.
    """
    if not path.exists():
        raise ManifestError(f"{path}: no such file or directory")
    if path.is_file():
        return list(_objects(path))
    kustomization = path / _KUSTOMIZATION
    if kustomization.exists():
        return [obj for entry in _resources(kustomization) for obj in load_manifests(entry)]
    files = sorted(p for p in path.iterdir() if p.suffix in {".yaml", ".yml", ".json"})
    if not files:
        raise ManifestError(f"{path}: no YAML or JSON file in this directory")
    return [obj for file in files for obj in _objects(file)]


def built_in(name: str) -> Path:
    """Where ``config/<name>`` is: in the wheel when installed, else in the source tree."""
    package = Path(__file__).resolve().parent.parent
    for root in (package / "_manifests" / "config", package.parent / "config"):
        if (root / name).exists():
            return root / name
    raise ManifestError(f"config/{name} is missing from this installation of etl-operator")


def _resources(kustomization: Path) -> Iterator[Path]:
    document = _documents(kustomization)
    if len(document) != 1 or not isinstance(document[0], dict):
        raise ManifestError(f"{kustomization}: a kustomization must be a single YAML mapping")
    unknown = sorted(set(document[0]) - _UNDERSTOOD)
    if unknown:
        raise ManifestError(
            f"{kustomization}: only `resources` is supported here, not {', '.join(unknown)}; "
            f"build it first: kubectl kustomize {kustomization.parent}"
        )
    for entry in document[0].get("resources") or []:
        yield kustomization.parent / str(entry)


def _objects(path: Path) -> Iterator[Object]:
    for number, document in enumerate(_documents(path), start=1):
        if document is None:
            continue
        if not isinstance(document, dict):
            raise ManifestError(f"{path}: document {number} is not an object")
        if str(document.get("kind", "")).endswith("List") and "items" in document:
            for item in document["items"] or []:
                yield _checked(item, path, number)
        else:
            yield _checked(document, path, number)


def _checked(document: Any, path: Path, number: int) -> Object:
    where = f"{path}: document {number}"
    if not isinstance(document, dict):
        raise ManifestError(f"{where} is not an object")
    for field in ("apiVersion", "kind"):
        if not isinstance(document.get(field), str):
            raise ManifestError(f"{where} has no {field}")
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise ManifestError(f"{where} ({document['kind']}) has no metadata.name")
    return document


def _documents(path: Path) -> list[Any]:
    try:
        return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: not valid YAML: {error}") from error
