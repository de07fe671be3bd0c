"""A node's pages for probes: ``/health`` and ``/ready``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus

from etl_operator.node.consensus.engine import ConsensusEngine
from etl_operator.probes import Page, Route, json_page


def health_routes(
    engine: ConsensusEngine, leaving: Callable[[], bool], serving: Callable[[], bool]
) -> Mapping[str, Route]:
    """``/health``: the process is up, always 200. ``/ready``: it has a leader, its state and its gRPC port,
    else 503.

    :param leaving: the node is about to end; it is not ready then.
    :param serving: the gRPC port is open.
    """

    def health() -> Page:
        status = engine.status()
        return json_page(
            HTTPStatus.OK,
            {
                "status": "ok",
                "node_id": status.node_id,
                "is_leader": status.leader_id == status.node_id,
                "leader_id": status.leader_id,
            },
        )

    def ready() -> Page:
        status = engine.status()
        if leaving():
            return json_page(
                HTTPStatus.SERVICE_UNAVAILABLE, {"ready": False, "reason": "the node is shutting down"}
            )
        if status.leader_id is None:
            return json_page(HTTPStatus.SERVICE_UNAVAILABLE, {"ready": False, "reason": "no leader is known"})
        if not status.caught_up:
            return json_page(
                HTTPStatus.SERVICE_UNAVAILABLE, {"ready": False, "reason": "the state is not loaded"}
            )
        if not serving():
            return json_page(
                HTTPStatus.SERVICE_UNAVAILABLE, {"ready": False, "reason": "no data worker serves"}
            )
        return json_page(HTTPStatus.OK, {"ready": True})

    return {"/health": health, "/ready": ready}
