"""Volumes as directories: under the pod's own for what ends with it, by claim for what outlives it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from etl_operator.sandbox.kubelet.environment import (
    Lookup,
    data_of,
    expand_known,
    field,
    resource_field,
)
from informers.objects import Object

_FROM_OBJECTS = {"configMap", "secret", "downwardAPI"}
_PROJECTED = {*_FROM_OBJECTS, "serviceAccountToken"}
_KINDS = {"name", *_FROM_OBJECTS, "emptyDir", "projected", "persistentVolumeClaim"}


class VolumeMissing(Exception):
    """A volume cannot be mounted yet; the container waits for what it refers to."""


class Volumes:
    """The volumes of one pod.

    :param directory: the pod's own; made on demand, removed by :meth:`remove`.
    :param claims: where the directories of PersistentVolumeClaims are.
    :param token: gives the token of a ``serviceAccountToken``.
    """

    def __init__(
        self, pod: Object, host: str, directory: Path, claims: Path, token: Callable[[Mapping[str, Any]], str]
    ) -> None:
        self._pod = pod
        self._host = host
        self._directory = directory
        self._claims = claims
        self._token = token

    def prepare(self, find: Lookup) -> None:
        """Make every directory and bring its files up to date.

        Safe to call again: files that did not change are not touched, others are replaced whole.

        :param find: ConfigMaps, Secrets and PersistentVolumeClaims of the pod's namespace, by kind and name.
        :raises VolumeMissing: when one that is not optional does not exist, a claim is not bound, or a
            volume is of a kind that only a real node has.
        """
        for volume in self._pod["spec"].get("volumes") or ():
            try:
                self._prepare_one(volume, find)
            except VolumeMissing as problem:
                # The kubelet's words.
                raise VolumeMissing(
                    f'MountVolume.SetUp failed for volume "{volume["name"]}" : {problem}'
                ) from None

    def _prepare_one(self, volume: Mapping[str, Any], find: Lookup) -> None:
        _refuse_unknown(volume)
        target = self.directory_of(volume, find)
        target.mkdir(parents=True, exist_ok=True)
        if files := self._files(volume, find):
            _fill(target, files)

    def mounts(
        self, container: Mapping[str, Any], find: Lookup, variables: Mapping[str, str]
    ) -> dict[str, str]:
        """Real directory by mount path, for one container.

        :param variables: the container's environment, which a ``subPathExpr`` is expanded with.
        :raises VolumeMissing: for a volume that is not there, or a path that leads out of it.
        """
        volumes = {volume["name"]: volume for volume in self._pod["spec"].get("volumes") or ()}
        found = {}
        for mount in container.get("volumeMounts") or ():
            if mount["name"] not in volumes:
                raise VolumeMissing(
                    f'container "{container["name"]}" mounts unknown volume "{mount["name"]}"'
                )
            real = self.directory_of(volumes[mount["name"]], find)
            if sub_path := _sub_path(mount, variables):
                real = _inside(real, sub_path)
                if not real.exists():
                    real.mkdir(parents=True)
            found[mount["mountPath"]] = str(real)
        return found

    def directory_of(self, volume: Mapping[str, Any], find: Lookup) -> Path:
        """The directory behind a volume.

        :raises VolumeMissing: when its claim does not exist or is not bound.
        """
        if "persistentVolumeClaim" not in volume:
            return self._directory / "volumes" / str(volume["name"])
        name = volume["persistentVolumeClaim"]["claimName"]
        claim = find("PersistentVolumeClaim", name)
        if claim is None:
            raise VolumeMissing(f'persistentvolumeclaim "{name}" not found')
        if (claim.get("status") or {}).get("phase") != "Bound":
            raise VolumeMissing(f'persistentvolumeclaim "{name}" is not bound')
        return self._claims / claim_directory(claim)

    def remove(self) -> None:
        """Remove what ends with the pod."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _files(self, volume: Mapping[str, Any], find: Lookup) -> dict[str, tuple[bytes, int]]:
        """Content and mode by relative path, for volumes that are made of objects."""
        if "configMap" in volume:
            return self._of_object("ConfigMap", volume["configMap"], volume["configMap"].get("name"), find)
        if "secret" in volume:
            return self._of_object("Secret", volume["secret"], volume["secret"].get("secretName"), find)
        if "downwardAPI" in volume:
            return self._of_fields(volume["downwardAPI"])
        files: dict[str, tuple[bytes, int]] = {}
        for source in (volume.get("projected") or {}).get("sources") or ():
            if "configMap" in source:
                files |= self._of_object("ConfigMap", source["configMap"], source["configMap"]["name"], find)
            elif "secret" in source:
                files |= self._of_object("Secret", source["secret"], source["secret"]["name"], find)
            elif "downwardAPI" in source:
                files |= self._of_fields(source["downwardAPI"])
            elif "serviceAccountToken" in source:
                wanted = source["serviceAccountToken"]
                files[wanted["path"]] = (self._token(wanted).encode(), 0o600)
        return files

    def _of_object(
        self, kind: str, source: Mapping[str, Any], name: Any, find: Lookup
    ) -> dict[str, tuple[bytes, int]]:
        obj = find(kind, str(name))
        if obj is None:
            if source.get("optional"):
                return {}
            raise VolumeMissing(f'{kind.lower()} "{name}" not found')
        content, mode = data_of(obj), int(source.get("defaultMode") or 0o644)
        items = source.get("items")
        if items is None:
            return {key: (value, mode) for key, value in content.items()}
        chosen = {}
        for item in items:
            if item["key"] in content:
                chosen[item["path"]] = (content[item["key"]], int(item.get("mode") or mode))
            elif not source.get("optional"):
                what = "references" if kind == "Secret" else "configmap references"
                thing = "secret" if kind == "Secret" else "config"
                raise VolumeMissing(f"{what} non-existent {thing} key: {item['key']}")
        return chosen

    def _of_fields(self, source: Mapping[str, Any]) -> dict[str, tuple[bytes, int]]:
        mode = int(source.get("defaultMode") or 0o644)
        return {
            item["path"]: (self._told(item).encode(), int(item.get("mode") or mode))
            for item in source.get("items") or ()
        }

    def _told(self, item: Mapping[str, Any]) -> str:
        if "fieldRef" in item:
            return field(self._pod, self._host, item["fieldRef"]["fieldPath"])
        reference, spec = item["resourceFieldRef"], self._pod["spec"]
        for container in (*spec["containers"], *(spec.get("initContainers") or ())):
            if container["name"] == reference.get("containerName"):
                return resource_field(container, reference)
        raise VolumeMissing(f"couldn't find container {reference.get('containerName')}")


def _refuse_unknown(volume: Mapping[str, Any]) -> None:
    sources = (volume.get("projected") or {}).get("sources") or ()
    unknown = {kind for kind in volume if kind not in _KINDS}
    unknown |= {kind for source in sources for kind in source if kind not in _PROJECTED}
    if unknown:
        raise VolumeMissing(
            f'volume "{volume["name"]}": the process node does not support {", ".join(sorted(unknown))}'
        )


def _sub_path(mount: Mapping[str, Any], variables: Mapping[str, str]) -> str:
    if not (expression := mount.get("subPathExpr")):
        return str(mount.get("subPath") or "")
    try:
        return expand_known(str(expression), variables)
    except KeyError as error:
        raise VolumeMissing(f"subPathExpr {expression}: variable {error.args[0]} is not defined") from None


def _inside(root: Path, relative: str) -> Path:
    """A path below a volume's directory.

    :raises VolumeMissing: when it leads out of the volume, by itself or through a symbolic link in it.
    """
    path = root / relative
    if ".." in Path(relative).parts or not path.resolve().is_relative_to(root.resolve()):
        raise VolumeMissing(f'path "{relative}" is outside of its volume')
    return path


def claim_directory(claim: Object) -> str:
    """The directory name of a claim; a claim that is made again starts empty."""
    meta = claim["metadata"]
    return f"{meta['namespace']}_{meta['name']}_{meta['uid']}"


def remove_orphans(claims: Path, kept: Iterable[str]) -> None:
    """Remove the directories of claims that are gone."""
    wanted = set(kept)
    for directory in claims.iterdir() if claims.exists() else ():
        if directory.name not in wanted:
            shutil.rmtree(directory, ignore_errors=True)


def _fill(directory: Path, files: Mapping[str, tuple[bytes, int]]) -> None:
    for relative, (content, mode) in files.items():
        file = _inside(directory, str(Path(relative).parent)) / Path(relative).name
        if file.is_symlink():
            # The program's own, and who knows where it leads: what is declared takes its place.
            file.unlink()
        with contextlib.suppress(OSError):
            if file.read_bytes() == content:
                continue
        file.parent.mkdir(parents=True, exist_ok=True)
        # Whole or not at all: the program may be reading the old one.
        fresh = file.with_name(f".{file.name}.new")
        fresh.write_bytes(content)
        # The owner must stay able to replace it.
        fresh.chmod(mode | 0o600)
        fresh.replace(file)
    known = {str(Path(relative)) for relative in files}
    for root, _, names in os.walk(directory):
        for name in names:
            found = Path(root) / name
            if str(found.relative_to(directory)) not in known:
                found.unlink()
