"""Who runs the loop: a thread that waits, where nobody else does; else the I/O thread."""

from __future__ import annotations

import ctypes
import dataclasses
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers.faults import ETAG, PART, FaultyObject, pattern
from servers.scripted import Reply, Request, object_script
from transfers import Bench, wait_until

from s3reader._ext import libcurl
from s3reader._ext.fetcher import FetcherClosed

DATA = pattern(4 * PART)

InThread = Callable[[Callable[[], Any]], Callable[[], Any]]


def native_threads() -> set[str]:
    """Threads of this process that Python does not know."""
    known = {str(thread.native_id) for thread in threading.enumerate()}
    return {task.name for task in Path("/proc/self/task").iterdir()} - known


def sleeps(threads: set[str]) -> int:
    """How often threads went to sleep so far."""
    status = "".join(Path(f"/proc/self/task/{each}/status").read_text() for each in threads)
    return sum(map(int, re.findall(r"^voluntary_ctxt_switches:\s*(\d+)$", status, re.M)))


def fetch(b: Bench, attended: bool) -> bytes:
    buffer = bytearray(PART)
    lane = b.lane()
    transfer = b.transfer(lane, 0, PART, buffer)
    b.fetcher.submit([transfer], attended=attended)
    b.fetcher.wait_done(transfer)
    assert transfer.done
    return bytes(buffer)


@pytest.mark.skipif(sys.platform != "linux", reason="counts context switches in Linux's /proc")
def test_lone_reader_wakes_no_other_thread(bench: Callable[..., Bench]) -> None:
    b = bench(FaultyObject(DATA))
    before = native_threads()
    assert fetch(b, True) == DATA[:PART]
    ours = native_threads() - before
    assert len(ours) == 1
    wait_until(lambda: sleeps(ours) > 0)  # it has nothing to do from its start on
    asleep = sleeps(ours)
    for _ in range(50):
        assert fetch(b, True) == DATA[:PART]
    assert sleeps(ours) == asleep
    for _ in range(50):
        assert fetch(b, False) == DATA[:PART]
    assert sleeps(ours) > asleep


@pytest.mark.skipif("OpenSSL" not in libcurl.ssl_version, reason="needs a libcurl with OpenSSL")
def test_reader_leaves_nothing_for_openssl_to_do_at_the_threads_end(
    bench: Callable[..., Bench],
) -> None:
    # Else it does it under a lock, which a fork just then would leave held in the child for ever.
    b = bench(FaultyObject(DATA))
    openssl = ctypes.CDLL(libcurl.path)  # what it is linked with is found, too
    openssl.ERR_new()
    openssl.ERR_set_error(2, 100, None)
    assert openssl.ERR_peek_error() != 0
    assert fetch(b, True) == DATA[:PART]
    assert openssl.ERR_peek_error() == 0


def test_what_nobody_waits_for_is_carried_out(bench: Callable[..., Bench]) -> None:
    b = bench(FaultyObject(DATA))
    lane = b.lane()
    transfer = b.transfer(lane, 0, PART)
    b.fetcher.submit([transfer])
    wait_until(lambda: transfer.done)


@pytest.mark.parametrize("waits", ["received", "settled", "cancel"])
def test_a_wait_that_ends_at_once_leaves_nothing_lying(
    bench: Callable[..., Bench], waits: str
) -> None:
    b = bench(FaultyObject(DATA))
    first = b.transfer(b.lane(), 0, PART)
    b.fetcher.submit([first])
    b.fetcher.wait_done(first)
    second = b.transfer(b.lane(), PART, 2 * PART)
    b.fetcher.submit([second], attended=True)
    if waits == "received":
        b.fetcher.wait_received(first, PART)
    elif waits == "settled":
        b.fetcher.wait_settled(first.lane)
    else:
        third = b.transfer(b.lane(), 0, 1)
        b.fetcher.submit([third], attended=True)
        b.fetcher.cancel(third.lane)
        assert third.settled
    wait_until(lambda: second.done)


def test_driver_leaves_the_rest_to_the_other_thread(bench: Callable[..., Bench]) -> None:
    right = object_script(DATA, ETAG)

    def late_at_first(request: Request) -> Reply:
        late = request.headers["range"].startswith("bytes=0-")
        return dataclasses.replace(right(request), delay=0.5 if late else 0.0)

    b = bench(late_at_first)
    slow = b.transfer(b.lane(), 0, PART)
    fast = b.transfer(b.lane(), PART, 2 * PART)
    b.fetcher.submit([slow, fast], attended=True)
    b.fetcher.wait_done(fast)
    assert fast.done
    assert not slow.settled
    wait_until(lambda: slow.done)


def test_threads_that_wait_are_served_by_the_one_that_drives(
    bench: Callable[..., Bench], in_thread: InThread
) -> None:
    b = bench(FaultyObject(DATA), 4)
    results = [in_thread(lambda: [fetch(b, True) for _ in range(100)]) for _ in range(4)]
    for result in results:
        assert set(result()) == {DATA[:PART]}


@pytest.mark.parametrize("ends", ["close", "cancel"])
def test_driver_is_called_away(bench: Callable[..., Bench], in_thread: InThread, ends: str) -> None:
    b = bench([Reply(silent=True)])
    lane = b.lane()
    transfer = b.transfer(lane, 0, PART)
    b.fetcher.submit([transfer], attended=True)
    waiting = in_thread(lambda: b.fetcher.wait_done(transfer))
    wait_until(lambda: len(b.server.requests) == 1)
    if ends == "close":
        b.fetcher.close()
    else:
        b.fetcher.cancel(lane)
    with pytest.raises(FetcherClosed):
        waiting()
