"""What every pod on the node shares: the machine's parts a container needs to come to life."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from etl_operator.sandbox.kubelet.addresses import AddressBook
from etl_operator.sandbox.kubelet.backoff import CrashBackoff
from etl_operator.sandbox.kubelet.environment import Lookup
from etl_operator.sandbox.kubelet.images import Image, ImageTable
from etl_operator.sandbox.kubelet.memory import MemoryWatch
from etl_operator.sandbox.kubelet.names import NameRewriter
from etl_operator.sandbox.reaper import Reaper
from informers.client import Client
from informers.clock import Clock, timestamp
from informers.objects import Object

NODE_ADDRESS = "127.0.0.1"

EventType: TypeAlias = Literal["Normal", "Warning"]


class Recorder(Protocol):
    """Takes events about objects; never blocks and never fails."""

    def event(self, obj: Object, *, type: EventType, reason: str, action: str, note: str) -> None:
        """Record one event; ``note`` is the sentence for people."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """The node as its pods see it.

    :param node: the node's name.
    :param directory: below it lie ``pods``, ``claims`` and ``images``.
    :param find: looks up ConfigMaps, Secrets and claims of a namespace.
    :param names: replaces cluster DNS names by addresses.
    :param memory: enforces memory limits.
    :param backoff: makes a container's restart back-off.
    :param proxy: URL of the name proxy, "" where there is none.
    """

    node: str
    client: Client
    clock: Clock
    directory: Path
    images: ImageTable
    reaper: Reaper
    addresses: AddressBook
    names: NameRewriter
    recorder: Recorder
    find: Callable[[str], Lookup]
    memory: MemoryWatch
    backoff: Callable[[], CrashBackoff]
    proxy: str = ""

    def now(self) -> str:
        """The time as statuses show it."""
        return timestamp(self.clock.time())

    def pod_directory(self, pod: Object) -> Path:
        """Where everything of one pod is that ends with it."""
        return self.directory / "pods" / pod_directory(pod)

    @property
    def claims(self) -> Path:
        """Where the directories of claims are."""
        return self.directory / "claims"

    def search_path(self, image: Image) -> str:
        """``PATH`` for a container of this image: its programs first, then the machine's."""
        programs = image.install(self.directory / "images")
        return os.pathsep.join((str(programs), os.environ.get("PATH", os.defpath)))


def pod_directory(pod: Object) -> str:
    """The directory name of a pod; one that comes back under the same name gets another."""
    meta = pod["metadata"]
    return f"{meta['namespace']}_{meta['name']}_{meta['uid']}"
