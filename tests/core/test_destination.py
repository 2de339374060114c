"""Memory without pages, and that it gets them ahead of the bytes."""

from __future__ import annotations

import mmap
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from servers.faults import ETAG, pattern
from servers.scripted import Reply, Request, object_script
from transfers import wait_until

from s3reader._ext.destination import Destination
from s3reader.fill import PAGES, Filling

MiB = 1024 * 1024
SIZE = 16 * MiB
PAGE = mmap.PAGESIZE
POPULATE_WRITE = 23  # what `mmap` has no name for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for pages")


@pytest.fixture
def memory() -> mmap.mmap:
    # Private, as what the allocator hands out is; huge pages would have neighbours come along.
    new = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    new.madvise(mmap.MADV_NOHUGEPAGE)
    return new


def faults_of_touching(memory: mmap.mmap, start: int, stop: int) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for at in range(start, stop, PAGE):
        memory[at] = 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def needs_populate(memory: mmap.mmap) -> None:
    try:
        memory.madvise(POPULATE_WRITE, 0, PAGE)
    except OSError:
        pytest.skip("needs Linux 5.14 or newer, which gives pages when asked")


def test_new_memory_is_fresh_and_touched_memory_is_not(memory: mmap.mmap) -> None:
    destination = Destination(memory)
    memory[0] = memory[-1] = 1  # as the allocator does, or who makes `bytes`
    assert destination.is_fresh(0, SIZE)
    assert destination.is_fresh(1, SIZE - 2)
    faults_of_touching(memory, 0, SIZE)
    assert not destination.is_fresh(0, SIZE)


def test_prepared_memory_costs_no_page_faults(memory: mmap.mmap) -> None:
    needs_populate(memory)
    destination = Destination(memory)
    destination.prepare(MiB + 5, 2 * MiB)
    assert faults_of_touching(memory, MiB, 3 * MiB + 5) < 50
    assert faults_of_touching(memory, 8 * MiB, 10 * MiB) >= 2 * MiB // PAGE


def test_what_has_come_already_stays(memory: mmap.mmap) -> None:
    destination = Destination(memory)
    memory[5 * MiB : 5 * MiB + 5] = b"bytes"
    destination.prepare(5 * MiB - 3, 2 * MiB)
    assert memory[5 * MiB : 5 * MiB + 5] == b"bytes"
    assert memory[5 * MiB - 3 : 5 * MiB] == bytes(3)


def test_pages_are_there_before_the_bytes(
    open_source: Callable[..., Any], memory: mmap.mmap
) -> None:
    needs_populate(memory)
    data, part = pattern(SIZE), 4 * MiB
    script, go_on = object_script(data, ETAG), threading.Event()

    def answer(request: Request) -> Reply:
        if request.range and request.range[0] >= part:
            go_on.wait(30)
        return script(request)

    source, _ = open_source(answer, part_size=part, max_connections=4)
    reading = threading.Thread(target=source().readinto, args=[memory])
    reading.start()
    try:
        rest = Destination(memory)
        wait_until(lambda: not any(rest.is_fresh(at, part) for at in range(part, SIZE, part)))
        assert memory[part:] == bytes(SIZE - part)
        rest.release()
    finally:
        go_on.set()
        reading.join()
    assert memory[:] == data


def test_where_bytes_arrive_no_pages_are_made_a_second_time(
    open_source: Callable[..., Any], memory: mmap.mmap
) -> None:
    needs_populate(memory)
    data, script, go_on = pattern(SIZE), object_script(pattern(SIZE), ETAG), threading.Event()

    def begin_of(request: Request) -> Reply:
        reply = script(request)
        headers = reply.headers | {"Content-Length": str(len(reply.body))}
        return replace(reply, headers=headers, body=b"", feed=in_two(reply.body))

    def in_two(body: bytes) -> Iterator[bytes]:
        yield body[:MiB]
        go_on.wait(30)
        yield body[MiB:]

    source, _ = open_source(begin_of, part_size=SIZE)
    filling = Filling(source, Destination(memory), 0)
    filling.begin(0, SIZE)
    wait_until(lambda: memory[MiB - 1] == data[MiB - 1])
    finishing = threading.Thread(target=filling.finish)
    finishing.start()
    try:
        rest = Destination(memory)
        wait_until(lambda: not rest.is_fresh(SIZE - PAGES, PAGES))
        assert rest.is_fresh(MiB, 2 * PAGES - MiB)
        assert not rest.is_fresh(2 * PAGES, PAGES)
        rest.release()
    finally:
        go_on.set()
        finishing.join()
    assert memory[:] == data


@pytest.mark.parametrize(("offset", "count"), [(-1, 5), (0, SIZE + 1), (SIZE, 1), (5, 0), (5, -1)])
def test_only_the_buffers_own_memory(memory: mmap.mmap, offset: int, count: int) -> None:
    destination = Destination(memory)
    assert not destination.is_fresh(offset, count)
    with pytest.raises(ValueError, match="more bytes than the buffer takes"):
        destination.prepare(offset, count)
