"""Chunks and their pool: blocks are recycled, what nobody needs leaves, views outlive all."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
from servers.faults import PART, FaultyObject, pattern
from servers.scripted import Reply, ScriptedServer
from transfers import Bench, wait_until

from s3reader._ext.chunks import Chunk, ChunkPool
from s3reader._ext.transfer import Transfer

MiB = 1024 * 1024
RETAIN = 16 * MiB  # free bytes that a pool keeps when idle
SMALLEST = 16 * 1024  # bytes of the smallest block
DATA = pattern(5 * MiB)

MakeBench = Callable[..., Bench]


def fetched(b: Bench, start: int, stop: int) -> Transfer:
    transfer = b.transfer(b.lane(), start, stop)
    b.fetcher.submit([transfer])
    b.fetcher.wait_done(transfer)
    assert transfer.done
    return transfer


@pytest.mark.parametrize("size", [1, SMALLEST - 1, SMALLEST, SMALLEST + 1, 100_000, MiB, MiB + 1])
def test_block_is_a_power_of_two_and_comes_back(bench: MakeBench, size: int) -> None:
    b = bench(FaultyObject(DATA))
    transfer = fetched(b, 0, size)
    assert b.pool.in_use == max(SMALLEST, 1 << (size - 1).bit_length())
    view = transfer.view(0, size)
    del transfer
    assert b.pool.in_use > 0, "a view keeps the block"
    assert view == DATA[:size]
    del view
    assert b.pool.in_use == 0
    assert b.pool.retained > 0


def test_free_blocks_are_used_again(bench: MakeBench) -> None:
    b = bench(FaultyObject(DATA))
    for start in range(0, 20 * PART, PART):
        view = fetched(b, start, start + PART).view(0, PART)
        assert view == DATA[start : start + PART]
        del view
        assert b.pool.retained == SMALLEST
        assert b.pool.in_use == 0


def test_idle_pool_keeps_little(bench: MakeBench) -> None:
    b = bench(FaultyObject(DATA), connections=4)
    views = [fetched(b, 0, 4 * MiB).view(0, 10) for _ in range(10)]
    assert b.pool.in_use == 40 * MiB
    while views:
        views.pop()
        assert b.pool.retained + b.pool.in_use <= 40 * MiB
    assert (b.pool.in_use, b.pool.retained) == (0, RETAIN)


def test_views_are_read_only_and_share_one_block(bench: MakeBench) -> None:
    b = bench(FaultyObject(DATA))
    transfer = fetched(b, 0, PART)
    views = [transfer.view(start, start + 100) for start in range(0, 1000, 100)]
    assert b"".join(views) == DATA[:1000]
    assert all(view.readonly and view.contiguous and view.format == "B" for view in views)
    assert {id(view.obj) for view in views} == {id(views[0].obj)}
    assert len(views[0].obj) == PART  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="read-only"):
        views[0][0] = 1  # type: ignore[index]
    assert transfer.view(5, 5) == b""


@pytest.mark.parametrize("span", [(-1, 5), (5, 4), (0, PART + 1), (PART + 1, PART + 1)])
def test_view_of_what_is_not_there_is_refused(bench: MakeBench, span: tuple[int, int]) -> None:
    transfer = fetched(bench(FaultyObject(DATA)), 0, PART)
    with pytest.raises(ValueError, match="not received"):
        transfer.view(*span)


def test_view_outlives_fetcher_pool_and_transfer(
    scripted: Callable[..., ScriptedServer],
) -> None:
    b = Bench(scripted(FaultyObject(DATA)))
    view = fetched(b, 100, 1100).view(0, 1000)
    del b
    gc.collect()
    assert view == DATA[100:1100]


def test_chunk_in_a_reference_cycle_goes_back_to_the_pool(bench: MakeBench) -> None:
    """The collector clears what a dying cycle refers to; a chunk still needs its pool then."""
    b = bench(FaultyObject(DATA))
    transfer = fetched(b, 0, PART)
    cycle: list[object] = [transfer.view(0, 10)]
    cycle.append(cycle)
    transfer.notes = cycle
    del transfer, cycle
    gc.collect()
    assert b.pool.in_use == 0


def test_transfer_without_a_view_gives_its_block_back(bench: MakeBench) -> None:
    b = bench(FaultyObject(DATA))
    transfer = fetched(b, 0, PART)
    assert b.pool.in_use == SMALLEST
    del transfer
    assert b.pool.in_use == 0


def test_length_that_no_memory_holds_is_refused(bench: MakeBench) -> None:
    huge = 10**17
    described = {"Content-Range": f"bytes 0-{huge - 1}/{huge}", "Content-Length": str(huge)}
    b = bench([Reply(206, described, b"x")])
    transfer = b.transfer(b.lane(), 0, None)
    b.fetcher.submit([transfer])
    assert b.fetcher.next_report() is transfer
    b.fetcher.fail(transfer, MemoryError())
    wait_until(lambda: transfer.failed)
    assert b.pool.in_use == 0


def test_chunk_made_by_hand_has_no_bytes() -> None:
    with pytest.raises(BufferError, match="made by the library"):
        memoryview(Chunk())
    assert len(Chunk()) == 0


def test_new_pool_holds_nothing() -> None:
    assert (ChunkPool().in_use, ChunkPool().retained) == (0, 0)
