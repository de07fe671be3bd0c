"""The official Python client's tests of its dynamic client, run as they are: ``... KUBECONFIG REPORT``.

They come with the package, but for the module that tells them which cluster to use: this stands in for it.
"""

from __future__ import annotations

import json
import sys
import types
import unittest
from pathlib import Path
from typing import Any

import kubernetes

_TESTS = ("kubernetes.dynamic.test_client", "kubernetes.dynamic.test_discovery")


def _stand_in(kubeconfig: str) -> None:
    def get_e2e_configuration() -> Any:
        configuration = kubernetes.client.Configuration()
        kubernetes.config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)
        return configuration

    base: Any = types.ModuleType("kubernetes.e2e_test.base")
    base.get_e2e_configuration = get_e2e_configuration
    package: Any = types.ModuleType("kubernetes.e2e_test")
    package.base = base
    sys.modules |= {package.__name__: package, base.__name__: base}


def main(kubeconfig: str, report: str) -> None:
    """Run the tests and write how they went."""
    _stand_in(kubeconfig)
    result = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromNames(_TESTS))
    failed = [test.id() for test, _ in (*result.failures, *result.errors)]
    passed = result.testsRun - len(failed) - len(result.skipped)
    Path(report).write_text(json.dumps({"passed": passed, "failed": failed}), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
