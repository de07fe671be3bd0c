"""Writes the descriptors of Kubernetes' protobuf messages. For developers; needs Go and grpcio-tools.

::

    python informers/apiserver/protobuf/make.py

The messages are those of the ``generated.proto`` files in Kubernetes' Go modules, and those of the OpenAPI
document of version 2, fetched with Go's own module download.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

VERSION = "1.37"
_RELEASE = "v0." + VERSION.removeprefix("1.") + ".0"
MODULES = {
    "k8s.io/api": _RELEASE,
    "k8s.io/apimachinery": _RELEASE,
    "k8s.io/apiextensions-apiserver": _RELEASE,
    "k8s.io/kube-aggregator": _RELEASE,
    # The version that those require.
    "github.com/google/gnostic-models": "v0.7.0",
}
GROUPS = (
    "admissionregistration/v1",
    "apps/v1",
    "authentication/v1",
    "authorization/v1",
    "autoscaling/v1",
    "autoscaling/v2",
    "batch/v1",
    "certificates/v1",
    "coordination/v1",
    "core/v1",
    "discovery/v1",
    "events/v1",
    "flowcontrol/v1",
    "networking/v1",
    "node/v1",
    "policy/v1",
    "rbac/v1",
    "resource/v1",
    "scheduling/v1",
    "storage/v1",
    "storagemigration/v1",
)
FILES = (
    *(f"k8s.io/api/{group}/generated.proto" for group in GROUPS),
    "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1/generated.proto",
    "k8s.io/apimachinery/pkg/runtime/generated.proto",
    "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/generated.proto",
)
OPENAPI = "github.com/google/gnostic-models/openapiv2/OpenAPIv2.proto"


def sources(folder: Path) -> None:
    """Lay the modules out as the import paths of their files ask for."""
    (folder / "go.mod").write_text("module descriptors\n\ngo 1.24\n")
    versions = (f"{module}@{version}" for module, version in MODULES.items())
    command = ["go", "mod", "download", "-json", *versions]
    printed = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
    decoder = json.JSONDecoder()
    while printed.strip():
        module, end = decoder.raw_decode(printed.lstrip())
        printed = printed.lstrip()[end:]
        place = folder / module["Path"]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(module["Dir"])


def compiled(folder: Path, name: str, options: Sequence[str], names: Sequence[str]) -> None:
    """Write the descriptors of some files, packed, beside this one."""
    target = folder / "descriptors.pb"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", *options]
    subprocess.run([*command, f"--descriptor_set_out={target}", *names], check=True)
    Path(__file__).with_name(f"{name}.pb.gz").write_bytes(gzip.compress(target.read_bytes(), 9, mtime=0))


def main() -> None:
    """Write the descriptors beside this file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources(folder)
        compiled(folder, f"descriptors-{VERSION}", ["--include_imports"], FILES)
        # What it imports comes with Python's protobuf.
        compiled(folder, "openapi-v2", [], [OPENAPI])


if __name__ == "__main__":
    main()
