"""What the sandbox says of records: how many came, what became of them, and where the output is."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

from etl_operator.sandbox.flow import Flow, kept_copy
from etl_operator.sandbox.kubelet import ProcessNode
from etl_operator.sandbox.progress import Progress, State
from informers.errors import RuntimeFault
from informers.objects import ObjectKey

_ROW = "records"
_LINES = 5


class Report:
    """Follows the count of records on the screen.

    :param kept: the kubeconfig beside which the output is copied to; ``None`` when the volumes stay.
    """

    def __init__(self, flow: Flow, node: ProcessNode, progress: Progress, kept: Path | None) -> None:
        self._flow = flow
        self._node = node
        self._progress = progress
        self._kept = kept
        self.finished = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        self._show()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._flow.run(self._show))
            await self._flow.done.wait()
            await self._finish()
            self.finished.set()

    def _show(self) -> None:
        came, expected = self._flow.counts.came, self._flow.expected
        done = self._flow.done.is_set()
        share = "all" if came >= expected else "some"
        self._progress.update(_ROW, State(done, f"{share} arrived: {came} of {expected}"))

    async def _finish(self) -> None:
        counts, say = self._flow.counts, self._progress.say
        say(
            f"{counts.came} records arrived: {counts.filtered} filtered, "
            f"{counts.dead_lettered} dead-lettered, {counts.written} written, {self._flow.rate:.0f} records/s"
        )
        for file in await self._outputs():
            say(f"output: {file}")

    async def _outputs(self) -> list[Path]:
        """The files of the sinks, kept where they stay."""
        found = []
        with contextlib.suppress(RuntimeFault):
            for service, pod in await self._flow.pods("sink"):
                if not service.output:
                    continue
                file = self._node.file(ObjectKey.of(pod), service.container, service.output)
                if file is None or not file.exists():
                    continue
                if self._kept is not None:
                    copy = kept_copy(self._kept, service)
                    await asyncio.to_thread(shutil.copyfile, file, copy)
                    file = copy
                found.append(file)
        return found

    async def explain(self, waited: float) -> None:
        """Why not all records have come: the counts, and what the services logged last.

        :param waited: for so many seconds.
        """
        counts, say = self._flow.counts, self._progress.say
        say(
            f"everything is Ready, but only {counts.came} of {self._flow.expected} records arrived within "
            f"{waited:.0f} s: {counts.filtered} filtered, {counts.dead_lettered} dead-lettered, "
            f"{counts.written} written"
        )
        for stage in await self._flow.unanswered():
            say(f"  {stage}: calls of its service failed; check its Deployment, Service, endpoint and log")
        for kind in ("source", "transform", "sink"):
            for service, pod in await self._flow.pods(kind):
                say(f"the last lines of {kind} {service.name}:")
                meta = pod["metadata"]
                logs = self._node.logs(
                    meta["namespace"], meta["name"], service.container, follow=False, tail=_LINES
                )
                async for piece in logs:
                    for line in piece.decode(errors="replace").splitlines():
                        say(f"  | {line}")
