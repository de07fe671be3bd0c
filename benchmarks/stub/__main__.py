"""The stub as a process: ``python -m benchmarks.stub [--ca-file FILE]`` prints its ports as JSON."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import ssl
import sys
from pathlib import Path

from benchmarks.stub.certificate import write_certificates
from benchmarks.stub.server import Stub


async def _serve(ca_file: Path | None) -> None:
    stub = Stub()
    ports = {"http": await stub.serve(0)}
    if ca_file is not None:
        cert_file, key_file = ca_file.with_suffix(".server.crt"), ca_file.with_suffix(".server.key")
        write_certificates(ca_file, cert_file, key_file)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert_file, key_file)
        context.set_alpn_protocols(["http/1.1"])
        ports["https"] = await stub.serve(0, context)
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    gc.freeze()
    await asyncio.Event().wait()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stub", description=__doc__)
    parser.add_argument("--ca-file", type=Path, help="also serve TLS; the authority is written here")
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.ca_file))


if __name__ == "__main__":
    main()
