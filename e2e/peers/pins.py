"""Which suites, at which versions, and how many of their tests pass."""

from __future__ import annotations

from dataclasses import dataclass

CONTROLLER_RUNTIME = "sigs.k8s.io/controller-runtime"
CONTROLLER_RUNTIME_VERSION = "v0.25.2"


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite.

    :param name: what it is called here.
    :param version: of the project it belongs to.
    :param package: of a Go module, below its root; "" for a Python suite.
    :param passed: tests that pass.
    :param failed: names of those that fail on a real server too.
    """

    name: str
    version: str
    package: str
    passed: int
    failed: tuple[str, ...] = ()


def _of_runtime(package: str, passed: int) -> Suite:
    return Suite(f"controller-runtime {package}", CONTROLLER_RUNTIME_VERSION, f"pkg/{package}", passed)


_OLD_DEFINITIONS = "kubernetes.dynamic.test_client.TestDynamicClient.test_"

SUITES = (
    _of_runtime("client", 311),
    _of_runtime("cache", 276),
    _of_runtime("manager", 107),
    _of_runtime("builder", 72),
    Suite(
        "kubernetes dynamic",
        "37.0.2",
        "",
        10,
        (
            # It asks for definitions of v1beta1, which no server has any more.
            f"{_OLD_DEFINITIONS}async_namespaced_custom_resources",
            f"{_OLD_DEFINITIONS}cluster_custom_resources",
            f"{_OLD_DEFINITIONS}namespaced_custom_resources",
            # It finds a Deployment and its scale, which are not the same.
            "kubernetes.dynamic.test_discovery.TestDiscoverer.test_cache_decoder_resource_and_subresource",
        ),
    ),
)
