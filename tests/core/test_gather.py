"""Gathering: each byte at its place and told once, whatever the server does."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from servers.faults import PART, FaultyObject, cut, part, pattern, status

import s3reader
from s3reader import IncompleteDataError, ObjectChangedError, S3ClientConfig
from s3reader._ext.scatter import Scatter
from s3reader.gather import Part, gather

SIZE = 40 * PART + 123
DATA = pattern(SIZE)


class Memory:
    """Zeroed memory with an address."""

    def __init__(self, count: int) -> None:
        self.array = (ctypes.c_char * max(1, count))()
        self.address = ctypes.addressof(self.array)

    def __bytes__(self) -> bytes:
        return bytes(self.array)


@pytest.fixture
def served() -> FaultyObject:
    return FaultyObject(DATA)


@pytest.fixture
def source_of(scripted: Any, served: FaultyObject) -> Iterator[Callable[[], Any]]:
    """Makes a source of the object that is served."""
    server = scripted(served)
    config = S3ClientConfig(unsigned=True, part_size=PART, max_connections=3, max_attempts=3)
    endpoint = f"http://127.0.0.1:{server.port}"
    with s3reader.S3Client(endpoint=endpoint, s3client_config=config) as client:
        take: Any = lambda *, get_stream, **_: get_stream  # noqa: E731
        yield lambda: client.get_object("bucket", "key", reader_constructor=take)


def parts_of(source: Any, stop: int = SIZE) -> list[Part]:
    return [Part(source, start, min(start + PART, stop)) for start in range(0, stop, PART)]


def whole(memory: Memory) -> Callable[[Part, bool], Scatter]:
    return lambda part, alone: Scatter([(0, SIZE, memory.address)], memory)


def completed(pieces: Iterable[tuple[Part, int, int]]) -> list[Part]:
    """The parts that were told, each byte of them once; they must be in order of their bytes."""
    parts: list[Part] = []
    told: dict[Part, int] = {}
    for one, start, stop in pieces:
        assert start == told.get(one, one.start) < stop <= one.stop
        told[one] = stop
        assert one.missing == one.stop - stop
        if not one.missing:
            parts.append(one)
    return parts


def test_every_byte_is_at_its_place(source_of: Any) -> None:
    memory = Memory(SIZE)
    source = source_of()
    wanted = parts_of(source)
    got = completed(gather(source.session, wanted, whole(memory)))
    assert sorted(got, key=lambda one: one.start) == wanted
    assert bytes(memory) == DATA


def test_what_is_told_is_in_its_place(source_of: Any) -> None:
    memory = Memory(SIZE)
    source = source_of()
    for _, start, stop in gather(source.session, parts_of(source), whole(memory)):
        assert memory.array[start:stop] == DATA[start:stop]


@pytest.mark.parametrize("seed", range(8))
def test_pieces_of_any_size(source_of: Any, seed: int) -> None:
    """Random pieces, with gaps, that cross the borders of parts, through broken connections."""
    choose = random.Random(seed)
    borders = sorted(choose.sample(range(SIZE), 2 * choose.randint(1, 300)))
    ranges = list(zip(borders[::2], borders[1::2], strict=True))
    memories = [Memory(stop - start) for start, stop in ranges]
    pieces = [(*one, memory.address) for one, memory in zip(ranges, memories, strict=True)]
    source = source_of()
    scatter = Scatter(pieces, memories)
    assert len(scatter) == len(ranges)
    for _ in gather(source.session, parts_of(source), lambda part, alone: scatter):
        pass
    for (start, stop), memory in zip(ranges, memories, strict=True):
        assert bytes(memory) == DATA[start:stop]


def test_broken_parts_go_on(source_of: Any, served: FaultyObject) -> None:
    served.go_wrong(cut(1700), times=20)
    memory = Memory(SIZE)
    source = source_of()
    for _ in gather(source.session, parts_of(source), whole(memory)):
        pass
    assert bytes(memory) == DATA
    assert sum(source.stats()["retries"].values()) >= 10


def test_error_tells_its_part(source_of: Any, served: FaultyObject) -> None:
    served.go_wrong(status(403, "AccessDenied"), where=part(5))
    source = source_of()
    wanted = parts_of(source)
    with pytest.raises(PermissionError) as caught:
        completed(gather(source.session, wanted, whole(Memory(SIZE))))
    assert caught.value.part is wanted[5]  # type: ignore[attr-defined]
    assert wanted[5].missing == PART


def test_short_object_is_an_error(source_of: Any) -> None:
    source = source_of()
    memory = Memory(SIZE + PART)
    place = Scatter([(0, SIZE + PART, memory.address)], memory)
    with pytest.raises(IncompleteDataError, match=f"has only {SIZE} bytes"):
        list(gather(source.session, parts_of(source, SIZE + 1), lambda part, alone: place))


def test_changed_object_is_an_error(source_of: Any, served: FaultyObject) -> None:
    source = source_of()
    arriving = gather(source.session, parts_of(source), whole(Memory(SIZE)))
    next(arriving)
    served.replace(DATA[::-1], '"another"')
    with pytest.raises(ObjectChangedError):
        list(arriving)


def test_parts_may_be_held_back(source_of: Any) -> None:
    """One at a time, because the memory is there only for one."""
    memory = Memory(SIZE)
    source = source_of()
    asked: list[bool] = []

    def place(part: Part, alone: bool) -> Scatter | None:
        asked.append(alone)
        return whole(memory)(part, alone) if alone else None

    wanted = parts_of(source)
    assert completed(gather(source.session, wanted, place)) == wanted
    assert asked.count(True) == len(wanted)
    assert bytes(memory) == DATA


def test_nothing_is_on_its_way_once_closed(source_of: Any) -> None:
    memory = Memory(SIZE)
    source = source_of()
    arriving = gather(source.session, parts_of(source), whole(memory))
    next(arriving)
    arriving.close()
    ctypes.memset(memory.address, 0, SIZE)
    assert len(completed(gather(source.session, parts_of(source), whole(Memory(SIZE))))) == 41
    assert not any(bytes(memory))


@pytest.mark.parametrize("pieces", [[(5, 4, 0)], [(0, 4, 0), (3, 5, 0)], [(4, 5, 0), (0, 1, 0)]])
def test_pieces_out_of_order_are_refused(pieces: list[tuple[int, int, int]]) -> None:
    with pytest.raises(ValueError, match="sorted and disjoint"):
        Scatter(pieces, None)


def test_places_are_the_callers_while_the_error_is_kept(
    source_of: Any, served: FaultyObject
) -> None:
    served.go_wrong(status(403, "AccessDenied"), where=part(3))
    source = source_of()
    buffer = bytearray(SIZE)

    def place(wanted: Part, alone: bool) -> Scatter:
        held = (ctypes.c_char * SIZE).from_buffer(buffer)
        return Scatter([(0, SIZE, ctypes.addressof(held))], held)

    with pytest.raises(s3reader.AccessDeniedError) as caught:
        list(gather(source.session, parts_of(source), place))
    buffer.extend(b"a buffer that is exported cannot grow")
    assert caught.value.__traceback__ is not None
