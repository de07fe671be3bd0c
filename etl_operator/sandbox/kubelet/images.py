"""Images without a registry: a table that says which local programs an image stands for."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Image:
    """What stands for the images a pattern matches.

    :param pattern: ``name:tag`` with shell wildcards; compared without registry and path.
    :param programs: programs found first on PATH, by name, each as the local command it stands for.
    :param entrypoint: what runs when a container names no command.
    """

    pattern: str
    programs: Mapping[str, Sequence[str]]
    entrypoint: tuple[str, ...] = ()

    def matches(self, reference: str) -> bool:
        """Whether an image reference, with any registry, tag or digest, is meant."""
        return fnmatchcase(_short(reference), self.pattern)

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
        """``etl-router:*`` is the reference router node.

        :param engine: path of another router program that takes the same flags, run instead.
        """
        command = [engine] if engine else [sys.executable, "-m", "etl_operator.node.main"]
        return cls([Image("etl-router:*", {"etl-router": command}, ("etl-router",))])

    def find(self, reference: str) -> Image | None:
        """The entry for an image reference; the first that matches."""
        return next((image for image in self._images if image.matches(reference)), None)

    def refusal(self, reference: str) -> str:
        """Why an image cannot be run, and which ones can."""
        known = ", ".join(sorted(image.pattern for image in self._images)) or "none"
        return f'the sandbox runs local programs and has none for image "{reference}"; it knows: {known}'


def _short(reference: str) -> str:
    """``name:tag`` of an image reference."""
    name = reference.rpartition("/")[2]
    name, _, digest = name.partition("@")
    if ":" in name:
        return name
    return f"{name}:{digest.replace(':', '-') or 'latest'}"
