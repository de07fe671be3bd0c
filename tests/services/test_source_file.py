"""The file source: every line once, in files that grow, are rotated and are truncated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_operator.services import Position, Pushing
from etl_operator.services.source_file import MAX_LINE, SEGMENT, FileSource
from tests.processes import until
from tests.services.processes import ServiceProcess, started
from tests.services.router import FakeRouter, routers

SOURCE = ("source", "file", "--source-id=ns/log", "--poll-seconds=0.02")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


def append(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def size(path: Path) -> int:
    return path.stat().st_size


def rotate(path: Path) -> None:
    path.rename(path.with_suffix(".1"))


@asynccontextmanager
async def reading(directory: Path, path: Path, node: FakeRouter, *more: str) -> AsyncIterator[ServiceProcess]:
    """A process that reads a file into a node."""
    arguments = (*SOURCE, str(path), f"--router={node.address}", *more)
    async with started(directory, *arguments) as process:
        yield process


def texts(node: FakeRouter) -> list[str]:
    return [payload.decode() for payload in node.payloads]


async def arrived(node: FakeRouter, process: ServiceProcess, *lines: str) -> None:
    await until(lambda: len(node.records) >= len(lines), lambda: f"{texts(node)}\n{process.logs()}")
    assert texts(node) == list(lines)


def offset(node: FakeRouter) -> int:
    """What a router would have as the checkpoint."""
    return max(record.id.sequence_number for record in node.records)


async def test_a_whole_file_is_read_and_numbered_by_bytes(tmp_path: Path, path: Path) -> None:
    fill(path, b'{"n":1}\n\n{"n":22}\r\n   \n{"n":3}')
    async with routers() as (node,):
        async with reading(tmp_path, path, node, "--record-type=entry") as process:
            assert await process.exit_code() == 0
        assert texts(node) == ['{"n":1}', '{"n":22}', '{"n":3}']
        assert [record.id.sequence_number for record in node.records] == [8, 19, 30]
        assert {record.record_type for record in node.records} == {"entry"}
        assert size(path) == 30

        # Again, from the checkpoint: nothing is left, and then there is more.
        node.offsets = {0: 30}
        async with reading(tmp_path, path, node) as process:
            assert await process.exit_code() == 0
        assert len(node.records) == 3


async def test_lines_that_come_later_are_followed(tmp_path: Path, path: Path) -> None:
    async with routers() as (node,):
        async with reading(tmp_path, path, node, "--follow") as process:
            await until(lambda: "the file does not exist: waiting for it" in process.logs(), process.logs)
            append(path, "1", "2")
            await arrived(node, process, "1", "2")
            with path.open("a") as file:
                file.write("3 in ")
                file.flush()
                append(path, "two parts", "4")
            await arrived(node, process, "1", "2", "3 in two parts", "4")
            assert await process.terminate() == 0

        node.offsets = {0: offset(node)}
        append(path, "5")
        async with reading(tmp_path, path, node, "--follow") as process:
            await arrived(node, process, "1", "2", "3 in two parts", "4", "5")


async def test_a_rotated_file_is_read_to_its_end_and_numbers_rise(tmp_path: Path, path: Path) -> None:
    append(path, "old 1", "old 2")
    async with routers() as (node,), reading(tmp_path, path, node, "--follow") as process:
        await arrived(node, process, "old 1", "old 2")
        append(path, "old 3")
        rotate(path)
        append(path, "new 1")
        append(path.with_suffix(".1"), "old 4, late")
        await arrived(node, process, "old 1", "old 2", "old 3", "old 4, late", "new 1")
        append(path, "new 2")
        await arrived(node, process, "old 1", "old 2", "old 3", "old 4, late", "new 1", "new 2")
        numbers = [record.id.sequence_number for record in node.records]
        assert numbers == sorted(set(numbers))
        assert numbers[-2:] == [SEGMENT + 6, SEGMENT + 12]

        # A restart goes on in the second file.
        node.offsets = {0: offset(node)}
        assert await process.terminate() == 0
        append(path, "new 3")
        process.start()
        await until(lambda: len(node.records) == 7, process.logs)
    assert texts(node)[-1] == "new 3"
    assert node.records[-1].id.sequence_number == SEGMENT + 18


async def test_a_truncated_file_is_read_from_its_beginning(tmp_path: Path, path: Path) -> None:
    append(path, "before 1", "before 2")
    async with routers() as (node,), reading(tmp_path, path, node, "--follow") as process:
        await arrived(node, process, "before 1", "before 2")
        fill(path, b"")
        await until(lambda: "the file was truncated" in process.logs(), process.logs)
        append(path, "after 1")
        await arrived(node, process, "before 1", "before 2", "after 1")
        assert node.records[-1].id.sequence_number == SEGMENT + 8


async def test_a_truncated_file_that_grows_past_its_old_end_is_read_once(path: Path) -> None:
    append(path, "old")
    source = FileSource(Pushing(["127.0.0.1:1"], "s"), path, follow=True, poll=0.001)
    real = source._followed

    async def keep(_: bytes) -> bool:
        return True

    def noticed(at: Any) -> Any:
        found = real(at)
        if found is not None:
            fill(path, b"first line\nsecond\n")
        return found

    source.save = keep  # type: ignore[method-assign, assignment]
    source._followed = noticed  # type: ignore[method-assign]
    seen: list[bytes] = []
    async with aclosing(source.read(Position())) as lists:
        async for records in lists:
            seen += [one.payload for one in records]
            if seen == [b"old"]:
                fill(path, b"")
            if seen[-1:] == [b"second"]:
                break
    assert seen == [b"old", b"first line", b"second"]


@pytest.mark.parametrize("keeps_state", [True, False])
async def test_a_file_that_was_replaced_meanwhile_is_read_whole(
    tmp_path: Path, path: Path, keeps_state: bool
) -> None:
    """Also one that is longer than the old one, with a line that ends where the old one ended."""
    append(path, "12345", "67890")
    async with routers() as (node,):
        async with reading(tmp_path, path, node) as process:
            assert await process.exit_code() == 0
        node.offsets = {0: offset(node)}
        rotate(path)
        if keeps_state:
            assert node.states.keys() == {"ns/log"}
            append(path, "abcde", "fghij", "klmno")
        else:
            node.states.clear()
            append(path, "short")
        node.records.clear()
        async with reading(tmp_path, path, node) as process:
            assert await process.exit_code() == 0
        assert texts(node) == (["abcde", "fghij", "klmno"] if keeps_state else ["short"])
        assert min(record.id.sequence_number for record in node.records) > SEGMENT
        assert "reading it from the beginning" in process.logs()


async def test_a_router_that_keeps_nothing_gets_everything_again(tmp_path: Path, path: Path) -> None:
    append(path, "1", "2")
    async with routers() as (node,):
        node.keeps_checkpoints = False
        for _ in range(2):
            async with reading(tmp_path, path, node) as process:
                assert await process.exit_code() == 0
    assert texts(node) == ["1", "2", "1", "2"]
    assert node.records[0].id == node.records[2].id, "the same identity: whoever knows it can tell"


async def test_a_line_that_is_too_long_is_left_out_and_counted(tmp_path: Path, path: Path) -> None:
    fill(path, b"before\n" + b"x" * (2 * MAX_LINE + 5) + b"\nafter\n" + b"y" * MAX_LINE + b"\n")
    async with routers() as (node,), reading(tmp_path, path, node, "--stay") as process:
        await until(lambda: "the router has acknowledged all records" in process.logs(), process.logs)
        assert [payload[:6] for payload in node.payloads] == [b"before", b"after", b"yyyyyy"]
        assert process.values()["etl_service_records_total", "skipped"] == 1
        assert process.logs().count("skipped a line") == 1
        assert node.records[-1].id.sequence_number == size(path)


async def read_all(path: Path, position: Position, save: dict[str, bytes]) -> list[Any]:
    source = FileSource(Pushing(["127.0.0.1:1"], "s"), path)

    async def keep(state: bytes) -> bool:
        save["state"] = state
        return True

    source.save = keep  # type: ignore[method-assign]
    return [record async for records in source.read(position) for record in records]


LINES = st.binary(min_size=1, max_size=30).filter(lambda line: b"\n" not in line and bool(line.strip()))


@given(
    lines=st.lists(
        st.binary(min_size=1, max_size=30).filter(lambda b: b"\n" not in b and b.strip()), max_size=12
    ),
    stop=st.integers(0, 12),
    ended=st.booleans(),
)
async def test_reading_in_two_parts_gives_what_reading_at_once_gives(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], stop: int, ended: bool
) -> None:
    path = tmp_path_factory.mktemp("x") / "file"
    path.write_bytes(b"\n".join(lines) + (b"\n" if ended and lines else b""))
    state: dict[str, bytes] = {}
    whole = await read_all(path, Position(), state)
    assert [record.payload for record in whole] == [line.removesuffix(b"\r") for line in lines]
    numbers = [record.id.sequence_number for record in whole]
    assert numbers == sorted(set(numbers))
    first = whole[:stop]
    at = first[-1].id.sequence_number if first else 0
    rest = await read_all(path, Position({0: at} if at else {}, state["state"]), state)
    assert first + rest == whole
