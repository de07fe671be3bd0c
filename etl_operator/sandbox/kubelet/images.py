"""Images without a registry: a table that says which local programs an image stands for."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

ROUTER_IMAGE, OPERATOR_IMAGE, SERVICE_IMAGE = "etl-router:*", "etl-operator:*", "etl-service:*"
"""The patterns of this repository's own images."""

ENGINES = ("embedded", "etcd")
"""Consensus engines of ``etl-router``."""


@dataclass(frozen=True, slots=True)
class Image:
    """What stands for the images a pattern matches.

    :param pattern: ``name:tag`` with shell wildcards; compared without registry and path.
    :param programs: programs found first on PATH, by name, each as the local command it stands for.
    :param entrypoint: what runs when a container names no command.
    :param listening: options whose value ``:PORT`` means all addresses of the pod, of which it has one here.
    """

    pattern: str
    programs: Mapping[str, Sequence[str]]
    entrypoint: tuple[str, ...] = ()
    listening: tuple[str, ...] = ()

    def matches(self, reference: str) -> bool:
        """Whether an image reference, with any registry, tag or digest, is meant."""
        return fnmatchcase(_short(reference), self.pattern)

    def listen(self, command: Sequence[str], address: str) -> list[str]:
        """The command with the pod's address in its ``listening`` options: all pods share one network."""
        words: list[str] = []
        for word in command:
            option, equals, value = word.partition("=")
            if equals and option in self.listening and value.startswith(":"):
                word = f"{option}={address}{value}"
            elif words and words[-1] in self.listening and word.startswith(":"):
                word = f"{address}{word}"
            words.append(word)
        return words

    def install(self, directory: Path) -> Path:
        """Write a launcher for each program; returns the directory to put on PATH."""
        target = directory / self.pattern.partition(":")[0]
        target.mkdir(parents=True, exist_ok=True)
        for name, command in self.programs.items():
            launcher = target / name
            launcher.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
            launcher.chmod(0o755)
        return target


class ImageTable:
    """Every image the process node can run."""

    def __init__(self, images: Sequence[Image]) -> None:
        self._images = tuple(images)

    @classmethod
    def default(cls, engine: str | None = None) -> ImageTable:
        """The images of this repository, each as the program that its Dockerfile starts.

        :param engine: ``embedded`` or ``etcd``: the consensus engine of ``etl-router``; else the path of
            another router program that takes the same flags, run instead of it.
        """
        python = (sys.executable, "-m")
        router = [*python, "etl_operator.node.main"]
        if engine in ENGINES:
            router.append(f"--engine={engine}")
        elif engine:
            router = [engine]
        return cls(
            [
                Image(ROUTER_IMAGE, {"etl-router": router}, ("etl-router",)),
                Image(
                    OPERATOR_IMAGE,
                    {"etl-operator": [*python, "etl_operator.cli"]},
                    ("etl-operator",),
                    ("--metrics-bind-address", "--health-probe-bind-address"),
                ),
                Image(
                    SERVICE_IMAGE,
                    {"etl-service": [*python, "etl_operator.services.main"]},
                    ("etl-service",),
                ),
            ]
        )

    def find(self, reference: str) -> Image | None:
        """The entry for an image reference; the first that matches."""
        return next((image for image in self._images if image.matches(reference)), None)

    def refusal(self, reference: str) -> str:
        """Why an image cannot be run, and which ones can."""
        known = ", ".join(sorted(image.pattern for image in self._images)) or "none"
        return f'the sandbox runs local programs and has none for image "{reference}"; known images: {known}'


def _short(reference: str) -> str:
    """``name:tag`` of an image reference."""
    name = reference.rpartition("/")[2]
    name, _, digest = name.partition("@")
    if ":" in name:
        return name
    return f"{name}:{digest.replace(':', '-') or 'latest'}"
