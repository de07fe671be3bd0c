"""Which loopback address a pod has. It keeps it: across restarts, updates and sandboxes on one directory."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from informers.objects import ObjectKey

log = logging.getLogger(__name__)

_FIRST = 0x7F_01_00_01  # 127.1.0.1: the 127.0 network is full of other people's servers
_COUNT = 0x7F_FE_FF_FE - _FIRST


class AddressBook:
    """Hands out addresses in 127.1.0.1 to 127.254.255.253, remembered in a file.

    An address follows from the file's own place and the pod's namespace and name, so that it is the same
    every time, and two sandboxes on one machine rarely meet. Two pods that would meet get neighbours.

    :param file: where addresses are remembered; its directory must exist.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seed = str(file.resolve())
        self._by_pod: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        self._taken = set(self._by_pod.values())

    def address(self, pod: ObjectKey) -> str:
        """The pod's address, whether or not the pod exists yet."""
        name = str(pod)
        if name not in self._by_pod:
            self._by_pod[name] = self._free(name)
            self._taken.add(self._by_pod[name])
            try:
                self._save()
            except OSError as error:
                # The same address follows from the name; only a neighbour's might differ next time.
                log.warning("cannot save the addresses of pods: %s", error)
        return self._by_pod[name]

    def _free(self, name: str) -> str:
        digest = hashlib.sha256(f"{self._seed}\0{name}".encode()).digest()
        start = int.from_bytes(digest[:8], "big")
        for step in range(_COUNT):
            number = _FIRST + (start + step) % _COUNT
            address = ".".join(str(octet) for octet in number.to_bytes(4, "big"))
            if number & 0xFF not in (0, 0xFF) and address not in self._taken:
                return address
        raise RuntimeError("no loopback address is free")

    def _save(self) -> None:
        # A reader must never see half a file, and neither must the next sandbox after a crash.
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(self._by_pod, indent=1, sort_keys=True), encoding="utf-8")
        fresh.replace(self._file)
