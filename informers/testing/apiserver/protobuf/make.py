"""Writes the descriptors of Kubernetes' protobuf messages. For developers; needs Go and grpcio-tools.

::

    python informers/testing/apiserver/protobuf/make.py

The messages are those of the ``generated.proto`` files in Kubernetes' Go modules, fetched with Go's own
module download.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "1.37"
MODULES = (
    "k8s.io/api",
    "k8s.io/apimachinery",
    "k8s.io/apiextensions-apiserver",
    "k8s.io/kube-aggregator",
)
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


def sources(folder: Path) -> None:
    """Lay the modules out as the import paths of their files ask for."""
    (folder / "go.mod").write_text("module descriptors\n\ngo 1.24\n")
    release = "v0." + VERSION.removeprefix("1.") + ".0"
    command = ["go", "mod", "download", "-json", *(f"{module}@{release}" for module in MODULES)]
    printed = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
    decoder = json.JSONDecoder()
    while printed.strip():
        module, end = decoder.raw_decode(printed.lstrip())
        printed = printed.lstrip()[end:]
        place = folder / module["Path"]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(module["Dir"])


def main() -> None:
    """Write the descriptors beside this file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources(folder)
        target = folder / "descriptors.pb"
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", "--include_imports"]
        subprocess.run([*command, f"--descriptor_set_out={target}", *FILES], check=True)
        packed = gzip.compress(target.read_bytes(), 9, mtime=0)
    Path(__file__).with_name(f"descriptors-{VERSION}.pb.gz").write_bytes(packed)


if __name__ == "__main__":
    main()
