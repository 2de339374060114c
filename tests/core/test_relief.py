"""Relief: a connection that has nothing to do takes over half of what another has left."""

from __future__ import annotations

import base64
import ctypes
import dataclasses
import hashlib
import itertools
import zlib
from collections.abc import Callable

import pytest
from servers.faults import ETAG, Fault, cut, headers, pattern, status
from servers.scripted import Reply, Request, ScriptedServer, object_script
from transfers import stays_poisoned, wait_until

from s3reader._ext.scatter import Scatter
from s3reader.errors import ObjectChangedError, ObjectNotFoundError
from s3reader.fill import Filling
from s3reader.gather import Part, gather
from s3reader.source import ObjectSource

MiB = 1024 * 1024
DATA = pattern(20 * MiB)
HALF = 10 * MiB  # of two connections, each has one
SLOW = 1.5  # seconds that the first half's answer rests, after...
RESTS_AT = MiB

OpenSource = Callable[..., tuple[ObjectSource, ScriptedServer]]


class SlowStart:
    """Serves an object; what begins at 0 rests once, what relieves it is spoilt by ``fault``."""

    def __init__(self, fault: Fault | None = None, times: int = 1, **told: str) -> None:
        self._right = object_script(DATA, ETAG, told)
        self._fault = fault
        self._times = times

    def __call__(self, request: Request) -> Reply:
        reply = self._right(request)
        asked = request.range
        if asked is None or asked[0] == HALF:
            return reply
        if asked[0] == 0:
            return dataclasses.replace(reply, delay_at=RESTS_AT, pause=SLOW)
        if self._fault is not None and self._times > 0:
            self._times -= 1
            return self._fault(request, reply) or reply
        return reply


@pytest.fixture
def slow(open_source: OpenSource) -> OpenSource:
    def start(*script: object, **told: str) -> tuple[ObjectSource, ScriptedServer]:
        settings = {"part_size": 8 * MiB, "max_connections": 2}
        source, server = open_source(SlowStart(*script, **told), **settings)  # type: ignore[arg-type]
        source.info()
        return source, server

    return start


def ranges(server: ScriptedServer) -> list[tuple[int, int | None]]:
    return [each.range for each in server.requests if each.range is not None]


def test_late_part_is_relieved(slow: OpenSource) -> None:
    source, server = slow()
    target = bytearray(len(DATA))
    assert source().readinto(target) == len(DATA)
    assert target == DATA
    asked = ranges(server)
    assert asked[:2] == [(0, HALF), (HALF, len(DATA))]
    assert len(asked) > 2
    # A half of what was left when it was looked at, then a half of that.
    assert asked[2][1] == HALF
    assert HALF > asked[2][0] > HALF // 2
    assert source.stats()["requests"]["GetObject"] == len(asked)
    assert source.stats()["bytes_received"] == len(DATA)


def test_object_is_read_again_afterwards(slow: OpenSource) -> None:
    source, _ = slow()
    target = bytearray(len(DATA))
    for _ in range(2):
        assert source().readinto(target) == len(DATA)
        assert target == DATA
        target[:] = bytes(len(DATA))


@pytest.mark.parametrize("fault", [status(503, "SlowDown"), cut(100_000, reset=True), cut(30)])
def test_relieving_request_that_fails_is_retried(slow: OpenSource, fault: Fault) -> None:
    source, _ = slow(fault)
    target = bytearray(len(DATA))
    assert source().readinto(target) == len(DATA)
    assert target == DATA
    assert sum(source.stats()["retries"].values()) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (status(404, "NoSuchKey"), ObjectNotFoundError),
        (status(412, "PreconditionFailed"), ObjectChangedError),
        (headers(ETag='"another"'), ObjectChangedError),
    ],
)
def test_relieving_request_that_fails_for_good_ends_the_read(
    slow: OpenSource, fault: Fault, error: type[Exception]
) -> None:
    source, _ = slow(fault)
    target = bytearray(len(DATA))
    with pytest.raises(error):
        source().readinto(target)
    assert stays_poisoned(target)
    assert source().readinto(target) == len(DATA)
    assert target == DATA


def test_checksum_covers_what_was_relieved(slow: OpenSource) -> None:
    told = base64.b64encode(zlib.crc32(DATA).to_bytes(4, "big")).decode()
    source, server = slow(**{"x-amz-checksum-crc32": told, "x-amz-checksum-type": "FULL_OBJECT"})
    target = bytearray(len(DATA))
    assert source().readinto(target) == len(DATA)
    assert len(ranges(server)) > 2
    assert source.verifier.integrity.verified == "whole"


def gathered(source: ObjectSource, target: bytearray) -> list[Part]:
    """Gather the halves; the parts, each of whose bytes was told once and was there then."""
    parts = [Part(source, 0, HALF), Part(source, HALF, len(DATA))]
    view = (ctypes.c_char * len(DATA)).from_buffer(target)
    places = [(0, len(DATA), ctypes.addressof(view))]
    told: list[tuple[int, int]] = []
    for part, start, stop in gather(source.session, parts, lambda *_: Scatter(places, view)):
        assert part.start <= start < stop <= part.stop
        assert target[start:stop] == DATA[start:stop]
        told.append((start, stop))
    told.sort()
    assert told[0][0] == 0
    assert told[-1][1] == len(DATA)
    assert all(one[1] == other[0] for one, other in itertools.pairwise(told))
    return parts


def test_gathered_part_is_relieved(slow: OpenSource) -> None:
    source, server = slow()
    parts = gathered(source, bytearray(len(DATA)))
    assert [part.missing for part in parts] == [0, 0]
    asked = ranges(server)
    assert len(asked) > 2
    assert HALF > asked[2][0] > HALF // 2
    assert source.stats()["requests"]["GetObject"] == len(asked)
    assert source.stats()["bytes_received"] == len(DATA)


def test_failed_relief_is_told_and_not_taken_for_a_wrong_checksum(slow: OpenSource) -> None:
    """A hash waits for all bytes; those of the failed request never came."""
    told = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    whole = {"x-amz-checksum-sha256": told, "x-amz-checksum-type": "FULL_OBJECT"}

    def refuses_late(request: Request, reply: Reply) -> Reply:
        refusal = status(404, "NoSuchKey")(request, reply)
        assert refusal is not None
        return dataclasses.replace(refusal, delay=SLOW + 1.0)  # what it relieved is done by then

    source, _ = slow(refuses_late, 100, **whole)
    with pytest.raises(ObjectNotFoundError):
        source().readinto(bytearray(len(DATA)))
    assert not source.verifier.failed


def test_gathered_part_whose_relief_fails_is_told(slow: OpenSource) -> None:
    source, _ = slow(status(404, "NoSuchKey"))
    with pytest.raises(ObjectNotFoundError) as caught:
        gathered(source, bytearray(len(DATA)))
    assert caught.value.part.start == 0  # type: ignore[attr-defined]


def test_cancelling_ends_the_relieving_request_too(
    slow: OpenSource, in_thread: Callable[[Callable[[], int]], Callable[[], int]]
) -> None:
    source, server = slow(lambda request, reply: dataclasses.replace(reply, delay=30.0), 100)
    target = bytearray(len(DATA))
    stream = source()
    reading = in_thread(lambda: stream.readinto(target))
    wait_until(lambda: len(ranges(server)) > 2)
    source.session.close()
    with pytest.raises(ValueError, match="closed"):
        reading()
    assert stays_poisoned(target)


def test_own_part_size_is_kept_to(open_source: OpenSource) -> None:
    source, server = open_source(SlowStart(), part_size=5 * MiB, max_connections=2)
    source.info()
    target = bytearray(len(DATA))
    assert source().readinto(target) == len(DATA)
    assert target == DATA
    assert sorted(ranges(server)) == [(at, at + 5 * MiB) for at in range(0, len(DATA), 5 * MiB)]


def test_large_buffer_does_not_wait_for_the_size(open_source: OpenSource) -> None:
    source, server = open_source(object_script(DATA), part_size=8 * MiB, max_connections=4)
    target = bytearray(48 * MiB)
    assert source().readinto(target) == len(DATA)
    assert target[: len(DATA)] == DATA
    asked = ranges(server)
    assert {(0, 12 * MiB), (12 * MiB, 24 * MiB), (24 * MiB, 36 * MiB)} <= set(asked)
    assert source.size == len(DATA)
    assert source.stats()["retries"] == {}


def test_large_buffer_mixes_no_versions(open_source: OpenSource) -> None:
    old, new = object_script(DATA, '"old"'), object_script(DATA, '"new"')
    source, _ = open_source(
        lambda request: (new if (request.range or (0, 0))[0] else old)(request),
        part_size=8 * MiB,
        max_connections=4,
    )
    with pytest.raises(ObjectChangedError):
        source().readinto(bytearray(40 * MiB))


def test_interrupt_just_after_asking_leaves_nothing_on_its_way(
    open_source: OpenSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes between any two steps: here once the requests, and spares, are sent."""
    begin = Filling.begin

    def interrupted(filling: Filling, start: int, stop: int) -> None:
        begin(filling, start, stop)
        raise KeyboardInterrupt

    right = object_script(DATA, ETAG)
    source, _ = open_source(lambda request: dataclasses.replace(right(request), delay=0.3))
    stream = source()
    target = bytearray(len(DATA))
    monkeypatch.setattr(Filling, "begin", interrupted)
    # The traceback refers to the requests: that they are dropped does not end them.
    with pytest.raises(KeyboardInterrupt) as _caught:
        stream.readinto(target)
    assert stays_poisoned(target, 1.0)
    assert stream.tell() == 0
