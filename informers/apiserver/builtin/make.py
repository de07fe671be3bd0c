"""Writes the table of Go types. For developers, when it moves to another minor version; needs a Go toolchain.

::

    python informers/apiserver/builtin/make.py

Go's own module download is used; nothing is left outside its cache. The table is derived from the types of
Kubernetes (Apache-2.0).
"""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

VERSION = "1.37"
MODULES = (
    "k8s.io/api",
    "k8s.io/apimachinery",
    "k8s.io/apiextensions-apiserver",
    "k8s.io/kube-aggregator",
)


def main() -> None:
    """Write the table beside this file."""
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(here / "gotypes.go", folder / "main.go")
        release = "v0." + VERSION.removeprefix("1.") + ".0"
        wanted = "".join(f"\t{module} {release}\n" for module in MODULES)
        (folder / "go.mod").write_text(f"module types\n\ngo 1.24\n\nrequire (\n{wanted})\n")
        command = ["go", "run", "-mod=mod", "main.go"]
        printed = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE).stdout
    text = json.dumps(json.loads(printed), separators=(",", ":"), sort_keys=True)
    target = here / f"gotypes-{VERSION}.json.gz"
    target.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
