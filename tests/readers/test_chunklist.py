"""The chunk list against a plain twin: a dictionary from offset to byte."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3reader._ext.chunklist import ChunkList, Span
from s3reader._ext.memory import Memory

OBJECT = bytes(range(251)) * 80

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "replace", "discard", "trim", "clear"]),
        st.integers(0, 12000),
        st.sampled_from([0, 1, 5, 300, 4095, 4096, 6000]),
        st.booleans(),
    ),
    max_size=25,
)


@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_list_keeps_what_the_twin_keeps(steps: list[tuple[str, int, int, bool]]) -> None:
    chunks = ChunkList()
    kept: set[int] = set()
    for name, start, length, crumb in steps:
        piece = OBJECT[start : start + length]
        where = set(range(start, start + length))
        if name == "add":
            chunks.add(start, piece if crumb else memoryview(piece))
            kept |= where
        elif name == "replace":
            chunks.replace(start, piece)
            kept |= where
        elif name == "discard":
            chunks.discard_before(start)
            # A piece that reaches past the place stays whole.
            kept = {place for place in kept if chunks.has(place)}
            assert not kept or min(kept) >= start or chunks.at(min(kept)).end > start  # type: ignore[union-attr]
        elif name == "trim":
            chunks.trim(length)
            assert chunks.nbytes <= length or len(chunks) == 1
            kept = {place for place in kept if chunks.has(place)}
        else:
            chunks.clear()
            kept = set()
        assert chunks.nbytes == len(kept)
    check(chunks, kept)


def check(chunks: ChunkList, kept: set[int]) -> None:
    borders = {place for place in kept if place - 1 not in kept or place + 1 not in kept}
    for place in sorted({0, 1, 13000, *borders, *(border + 1 for border in borders)}):
        assert chunks.has(place) == (place in kept)
        run = place
        while run in kept:
            run += 1
        assert chunks.run_end(place, 10**12) == run
        assert chunks.run_end(place, place + 3) == min(run, place + 3)
        assert chunks.read(place, run - place) == OBJECT[place:run]
        if place not in kept:
            assert chunks.next_start(place) == min((at for at in kept if at > place), default=None)
            assert (
                chunks.previous_end(place) == max((at for at in kept if at < place), default=-1) + 1
            )
            with pytest.raises(LookupError):
                chunks.read(place, 1)
        target = bytearray(b"\xff" * 700)
        count = chunks.copy(place, Memory.lent(target), 100, 500)
        assert count == min(run - place, 500)
        assert target == b"\xff" * 100 + OBJECT[place : place + count] + b"\xff" * (600 - count)


def test_chunks_are_referred_to_not_copied() -> None:
    chunk = bytearray(OBJECT)
    chunks = ChunkList()
    chunks.add(50, memoryview(chunk).toreadonly())
    chunk[10] = 255
    assert chunks.read(60, 1) == b"\xff"
    with pytest.raises(BufferError):
        chunk.clear()
    chunks.clear()
    chunk.clear()


def test_crumbs_are_gathered() -> None:
    chunks = ChunkList()
    for place in range(5000):
        chunks.add(place, OBJECT[place : place + 1])
    assert len(chunks) == 1
    assert chunks.read(0, 5000) == OBJECT[:5000]


def test_copies_stay_inside_their_target() -> None:
    chunks = ChunkList()
    chunks.add(0, OBJECT)
    memory = Memory.block(10)
    span = Span(0, OBJECT)
    for offset, count in ((0, 11), (5, 6), (-1, 3), (11, 0)):
        with pytest.raises(IndexError):
            chunks.copy(0, memory, offset, count)
        with pytest.raises(IndexError):
            span.copy(0, memory, offset, count)
    for position, count in ((-1, 2), (len(OBJECT), 1), (0, -1)):
        with pytest.raises(IndexError):
            span.copy(position, memory, 0, count)
    for skip, count in ((-1, 2), (len(OBJECT), 1), (len(OBJECT) + 1, -1)):
        with pytest.raises(IndexError):
            Span(0, OBJECT, skip, count)
    with pytest.raises(IndexError):
        memory.put(8, b"abc")
    with pytest.raises(IndexError):
        memory.put(-1, b"a")


def test_memory_is_what_it_was_made_of() -> None:
    memory = Memory.for_bytes(3)
    memory.view(0, 2)[:] = b"ab"
    assert memory.put(2, bytearray(b"c")) == 1
    assert memory.take() == b"abc"
    assert (len(memory), memory.nbytes) == (3, 3)
    with pytest.raises(TypeError, match="not a bytes object"):
        Memory.block(3).take()
    with pytest.raises(TypeError, match="not bytes"):
        Memory.lent(b"abc")
