"""Hedging: what is late is sent a second time, and only one of the two is ever believed."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

import pytest
from servers.faults import ETAG, PART, Fault, pattern, status
from servers.scripted import Reply, Request, ScriptedServer, object_script
from transfers import stays_poisoned

from s3reader.errors import ObjectNotFoundError, S3TimeoutError
from s3reader.source import ObjectSource

DATA = pattern(60 * PART)
SIZE = len(DATA)
LATE = 30.0  # seconds: no test waits for it
WARM = 5  # times at least that the object is read first
SHARE = 0.025  # second requests that a first one earns
ENOUGH = 3.0  # second requests that a test may need

OpenSource = Callable[..., tuple[ObjectSource, ScriptedServer]]


class LateObject:
    """Serves an object; what is asked for ``at`` is answered by ``faults``, first to last."""

    def __init__(self, at: int, *faults: Fault | None) -> None:
        self._right = object_script(DATA, ETAG)
        self._asked = f"bytes={at}-"
        self._faults = list(faults)
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Reply:
        reply = self._right(request)
        with self._lock:
            asked = request.headers.get("range", "").startswith(self._asked)
            fault = self._faults.pop(0) if asked and self._faults else None
        return reply if fault is None else fault(request, reply) or reply


def late(request: Request, reply: Reply) -> Reply:
    return dataclasses.replace(reply, delay=LATE)


def delayed(seconds: float) -> Fault:
    return lambda request, reply: dataclasses.replace(reply, delay=seconds)


def warm_up(source: ObjectSource) -> None:
    """Have the client learn what its answers usually take, and earn second requests.

    A busy machine spends some of them meanwhile.
    """
    times = 0
    while times < WARM or SHARE * 59 * times - hedges(source) < ENOUGH:
        assert times < 20 * WARM, f"{hedges(source)} second requests while nothing was late"
        assert b"".join(source(0, 59 * PART)) == DATA[: 59 * PART]
        times += 1


@pytest.fixture
def hedged(open_source: OpenSource) -> Callable[..., tuple[ObjectSource, ScriptedServer]]:
    def start(*faults: Fault | None, **settings: object) -> tuple[ObjectSource, ScriptedServer]:
        source, server = open_source(
            LateObject(59 * PART, *faults), **{"hedge": True, "max_connections": 6, **settings}
        )
        warm_up(source)
        return source, server

    return start


def hedges(source: ObjectSource) -> int:
    number: int = source.session.stats()["hedges"]
    return number


@pytest.mark.parametrize("buffer", [True, False])
def test_late_answer_is_overtaken(hedged: OpenSource, buffer: bool) -> None:
    source, _ = hedged(late)
    before = hedges(source)
    stream = source(59 * PART)
    if buffer:
        target = bytearray(PART)
        assert stream.readinto(target) == PART
        assert target == DATA[59 * PART :]
    else:
        assert b"".join(stream) == DATA[59 * PART :]
    assert hedges(source) == before + 1
    assert source.stats()["retries"] == {}


def test_loser_never_touches_the_destination(hedged: OpenSource) -> None:
    source, _ = hedged(delayed(0.3), None)
    target = bytearray(PART)
    assert source(59 * PART).readinto(target) == PART
    assert target == DATA[59 * PART :]
    assert stays_poisoned(target, 0.6)


def test_first_answer_may_still_win(hedged: OpenSource) -> None:
    source, _ = hedged(delayed(0.3), late)
    before = hedges(source)
    assert b"".join(source(59 * PART)) == DATA[59 * PART :]
    assert hedges(source) == before + 1


@pytest.mark.parametrize("fault", [status(404, "NoSuchKey"), status(503, "SlowDown")])
def test_refused_second_request_leaves_the_first_alone(hedged: OpenSource, fault: Fault) -> None:
    source, _ = hedged(delayed(0.3), fault)
    assert b"".join(source(59 * PART)) == DATA[59 * PART :]
    assert source.stats()["retries"] == {}


def test_first_request_that_breaks_leaves_it_to_the_second(hedged: OpenSource) -> None:
    def breaks(request: Request, reply: Reply) -> Reply:
        return dataclasses.replace(reply, delay=0.2, cut_after=0, reset=True)

    source, _ = hedged(breaks, delayed(0.5))
    assert b"".join(source(59 * PART)) == DATA[59 * PART :]
    assert source.stats()["retries"] == {}


def test_both_refused_is_one_error(hedged: OpenSource) -> None:
    gone = status(404, "NoSuchKey")

    def gone_late(request: Request, reply: Reply) -> Reply:
        return dataclasses.replace(gone(request, reply) or reply, delay=0.2)

    source, _ = hedged(*[gone_late] * 20)
    with pytest.raises(ObjectNotFoundError):
        source(59 * PART).readinto(bytearray(PART))


def test_both_late_is_one_timeout(hedged: OpenSource) -> None:
    source, _ = hedged(late, late, late, first_byte_timeout=0.5, max_attempts=1)
    begun = time.monotonic()
    with pytest.raises(S3TimeoutError):
        source(59 * PART).readinto(bytearray(PART))
    assert time.monotonic() - begun < 10
    assert b"".join(source(59 * PART)) == DATA[59 * PART :]


def test_cancelling_ends_both(hedged: OpenSource) -> None:
    source, _ = hedged(late, late)
    before = hedges(source)
    stream = source(59 * PART)
    stream.prefetch()
    deadline = time.monotonic() + 10
    while hedges(source) == before:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    stream.close()
    assert source.session.budget.used == 0
    assert b"".join(source(59 * PART)) == DATA[59 * PART :]


def test_closing_the_session_ends_both(hedged: OpenSource) -> None:
    source, _ = hedged(late, late)
    before = hedges(source)
    stream = source(59 * PART)
    stream.prefetch()
    deadline = time.monotonic() + 10
    while hedges(source) == before:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    source.session.close()
    with pytest.raises(ValueError, match="closed"):
        stream.readinto(bytearray(PART))


def test_few_requests_are_sent_twice(open_source: OpenSource) -> None:
    right = object_script(DATA, ETAG)
    count = iter(range(1_000_000))

    def every_fourth_is_slow(request: Request) -> Reply:
        reply = right(request)
        return dataclasses.replace(reply, delay=0.02) if next(count) % 4 == 0 else reply

    source, server = open_source(every_fourth_is_slow, hedge=True, max_connections=6)
    for _ in range(4):
        assert b"".join(source()) == DATA
    needed = 4 * SIZE // PART
    assert len(server.requests) <= 1.03 * needed + 1


def test_nothing_is_sent_twice_unless_asked_for(open_source: OpenSource) -> None:
    source, server = open_source(LateObject(59 * PART, delayed(0.3)))
    warm_up(source)
    assert b"".join(source(59 * PART)) == DATA[59 * PART :]
    assert hedges(source) == 0
    assert len(server.requests) == WARM * 59 + 1


def test_nothing_is_sent_twice_while_throttled(open_source: OpenSource) -> None:
    source, _ = open_source(
        LateObject(59 * PART, status(503, "SlowDown"), delayed(0.3)), hedge=True, max_connections=6
    )
    warm_up(source)
    before = hedges(source)
    assert b"".join(source(59 * PART)) == DATA[59 * PART :]
    assert source.session.fetcher.limit < 6
    assert hedges(source) == before
