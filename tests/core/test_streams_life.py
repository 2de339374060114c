"""A stream's life: lazy, of one version, closed under its reader, used at random and by many."""

from __future__ import annotations

import dataclasses
import pickle
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers.faults import ETAG, PART, FaultyObject, cut, pattern, status
from servers.scripted import Reply, Request, ScriptedServer
from transfers import silent, wait_until

from s3reader.errors import NoCredentialsError, ObjectChangedError, S3Exception
from s3reader.session import Session
from s3reader.source import ObjectSource, head_object
from s3reader.stream import GetObjectStream

DATA = pattern(10 * PART + 100)
SIZE = len(DATA)

Read = Callable[[GetObjectStream, int], bytes]
OpenSource = Callable[..., tuple[ObjectSource, ScriptedServer]]
InThread = Callable[[Callable[[], Any]], Callable[[], Any]]


@pytest.fixture
def faulty() -> FaultyObject:
    return FaultyObject(DATA)


def test_nothing_is_asked_before_it_is_needed(
    open_source: OpenSource, faulty: FaultyObject
) -> None:
    source, server = open_source(faulty)
    stream = source(100)
    assert (stream.bucket, stream.key, stream.tell()) == ("bucket", "key", 100)
    assert (stream.object_size, stream.etag) == (None, None)
    stream.close()
    source(5, 5).readinto(bytearray(10))
    assert list(source(5, 5)) == []
    assert server.requests == []


def test_first_response_tells_size_and_version(
    open_source: OpenSource, faulty: FaultyObject
) -> None:
    source, server = open_source(faulty)
    stream = source()
    next(stream)
    assert (stream.object_size, stream.etag) == (SIZE, ETAG)
    assert {request.method for request in server.requests} == {"GET"}


def test_window_grows_as_parts_are_read_and_ends_with_the_connections(
    open_source: OpenSource, faulty: FaultyObject
) -> None:
    source, server = open_source(faulty, max_connections=4)
    stream = source()
    stream.prefetch()
    stream.prefetch()
    wait_until(lambda: source.stats()["bytes_received"] == PART)
    assert len(server.requests) == 1, "the size comes first"
    for consumed, ahead in [(1, 1), (2, 4), (3, 5), (4, 5)]:
        next(stream)
        assert source.stats()["requests"]["GetObject"] <= consumed + ahead
    assert b"".join(stream) == DATA[4 * PART :]


def test_pieces_are_read_ahead(open_source: OpenSource, faulty: FaultyObject) -> None:
    source, server = open_source(faulty)
    stream = source()
    pieces = []
    buffer = bytearray(1000)
    while count := stream.readinto(buffer):
        pieces.append(bytes(buffer[:count]))
    assert b"".join(pieces) == DATA
    assert {len(piece) for piece in pieces[:-1]} == {1000}
    assert len(server.requests) <= SIZE // PART + 3
    assert source.stats()["bytes_received"] == SIZE


def test_two_ways_out_mix(open_source: OpenSource, faulty: FaultyObject) -> None:
    source, _ = open_source(faulty)
    stream = source(10)
    read = bytearray(next(stream))
    buffer = bytearray(3 * PART)
    for _ in range(2):
        read += buffer[: stream.readinto(buffer)]
        read += next(stream)
        assert stream.tell() == 10 + len(read)
    read += b"".join(stream)
    assert read == DATA[10:]
    assert stream.readinto(buffer) == 0
    assert list(stream) == []


def test_streams_begun_before_the_first_response_hold_to_one_version(
    open_source: OpenSource, faulty: FaultyObject
) -> None:
    """Neither request could name the version; that the answers differ is found all the same."""
    source, server = open_source(faulty)
    gate = threading.Event()
    faulty.go_wrong(lambda request, reply: gate.wait(10) and None, times=2)
    first, second = source(0, 10), source(PART, PART + 10)
    first.prefetch()
    wait_until(lambda: len(server.requests) == 1)
    faulty.replace(bytes(SIZE), '"other"')
    second.prefetch()
    wait_until(lambda: len(server.requests) == 2)
    gate.set()
    assert bytes(next(first)) == DATA[:10]
    with pytest.raises(ObjectChangedError, match='"other"'):
        next(second)
    assert second.tell() == PART


class TestTrouble:
    def test_tail_that_failed_is_asked_for_anew(
        self, open_source: OpenSource, faulty: FaultyObject
    ) -> None:
        source, _ = open_source(faulty)
        stream = source.tail(10)
        faulty.go_wrong(status(404, "NoSuchKey"))
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                stream.tell()
        faulty.go_wrong(None)
        assert stream.tell() == SIZE - 10
        assert b"".join(stream) == DATA[-10:]

    def test_prefetch_that_could_not_be_signed_is_asked_for_anew(
        self, open_source: OpenSource, faulty: FaultyObject
    ) -> None:
        found: list[dict[str, str]] = []

        def provider() -> dict[str, str]:
            if not found:
                raise NoCredentialsError("none yet")
            return found[0]

        source, _ = open_source(faulty, credentials=provider)
        stream = source(0, 10)
        for ask in (stream.prefetch, lambda: next(stream), source.tail(5).tell):
            with pytest.raises(NoCredentialsError):
                ask()
        assert source.session.budget.used == 0
        found.append({"access_key_id": "AKIDEXAMPLE", "secret_access_key": "secret"})
        assert bytes(next(stream)) == DATA[:10]

    def test_prefetch_that_fails_is_an_error_where_it_is_read(
        self, open_source: OpenSource, faulty: FaultyObject
    ) -> None:
        source, server = open_source(faulty)
        faulty.go_wrong(status(403, "AccessDenied"))
        stream = source()
        stream.prefetch()
        wait_until(lambda: len(server.requests) == 1)
        with pytest.raises(PermissionError):
            next(stream)
        faulty.go_wrong(None)
        assert b"".join(stream) == DATA

    def test_body_that_goes_on_moves_nothing(
        self, open_source: OpenSource, faulty: FaultyObject
    ) -> None:
        source, _ = open_source(faulty)
        faulty.go_wrong(
            lambda request, reply: dataclasses.replace(
                reply, body=reply.body + b"more", chunked=True
            )
        )
        stream = source(0, 100)
        with pytest.raises(S3Exception, match="longer"):
            b"".join(stream)
        position = stream.tell()
        faulty.go_wrong(None)
        assert b"".join(stream) == DATA[position:100]


USES: dict[str, Callable[[ObjectSource], Any]] = {
    "buffer of many parts": lambda source: source().readinto(bytearray(SIZE)),
    "buffer of one part": lambda source: source(0, 10).readinto(bytearray(10)),
    "buffer for a tail": lambda source: source.tail(10).readinto(bytearray(10)),
    "chunks": lambda source: next(source()),
    "place of a tail": lambda source: source.tail(10).tell(),
    "head of the source": lambda source: source.info(),
    "head": lambda source: head_object(source.session, "bucket", "key", (), ()),
}


class TestClosed:
    def test_stream_refuses_everything(self, open_source: OpenSource, faulty: FaultyObject) -> None:
        source, _ = open_source(faulty)
        for stream in (source(), source.tail(10)):
            stream.close()
            stream.close()
            for use in (
                lambda s=stream: next(s),
                lambda s=stream: s.readinto(bytearray(5)),
                stream.prefetch,
            ):
                with pytest.raises(ValueError, match="closed"):
                    use()
        with pytest.raises(ValueError, match="closed"):
            stream.tell()

    def test_closing_cancels_what_is_on_its_way(
        self, open_source: OpenSource, faulty: FaultyObject
    ) -> None:
        source, server = open_source(faulty, max_connections=1)
        faulty.go_wrong(silent, times=1)
        stream = source()
        stream.prefetch()
        wait_until(lambda: len(server.requests) == 1)
        stream.close()
        assert source.session.budget.used == 0
        assert b"".join(source(0, 10)) == DATA[:10], "the one connection is free again"

    @pytest.mark.parametrize(
        ("use", "stage"),
        [(use, stage) for stage in ("silent", "retry") for use in USES]
        + [(use, "half a body") for use in USES if use.startswith("buffer")],
    )
    def test_session_ends_whoever_reads(
        self,
        open_source: OpenSource,
        faulty: FaultyObject,
        in_thread: InThread,
        use: str,
        stage: str,
    ) -> None:
        """What was not read must not look as if it had been."""
        source, server = open_source(faulty)
        stuck = {
            "silent": silent,
            "half a body": lambda request, reply: dataclasses.replace(
                reply, delay_at=len(reply.body) // 2, pause=30.0
            ),
            "retry": status(503, "SlowDown", Retry_After="15"),
        }
        faulty.go_wrong(stuck[stage])
        result = in_thread(lambda: USES[use](source))
        wait_until(lambda: len(server.requests) >= 1)
        source.session.close()
        with pytest.raises(ValueError, match="closed"):
            result()

    def test_source_is_used_in_a_session_of_its_own_after_pickling(
        self, open_source: OpenSource, faulty: FaultyObject
    ) -> None:
        source, _ = open_source(faulty)
        next(source())
        copy = pickle.loads(pickle.dumps(source))
        source.session.close()
        try:
            assert (copy.size, copy.etag) == (SIZE, ETAG)
            assert b"".join(copy()) == DATA
        finally:
            copy.session.close()


def any_fault(chance: random.Random) -> Any:
    """Something that passes: a break, a refusal, or nothing. No throttling, which slows down."""
    return chance.choice(
        [
            None,
            None,
            None,
            cut(chance.randrange(400), reset=chance.random() < 0.5),
            status(500, "InternalError"),
            status(408),
            lambda request, reply: dataclasses.replace(
                reply, cut_body_after=chance.randrange(len(reply.body) + 1)
            ),
        ]
    )


class FlakyObject(FaultyObject):
    """Goes wrong at random, but not twice running for one range."""

    def __init__(self, data: bytes, seed: int) -> None:
        super().__init__(data)
        self._chance = random.Random(seed)
        self._failed: set[str | None] = set()

    def __call__(self, request: Request) -> Reply:
        reply = super().__call__(request)
        asked = request.headers.get("range")
        with self._lock:
            fault = None if asked in self._failed else any_fault(self._chance)
            self._failed.discard(asked)
            if fault is not None:
                self._failed.add(asked)
        return fault(request, reply) if fault is not None else reply


def test_many_threads_read_through_one_session(
    open_source: OpenSource, in_thread: InThread
) -> None:
    source, _ = open_source(FlakyObject(DATA, 1), max_connections=6, max_attempts=6)

    def read(seed: int) -> None:
        chance = random.Random(seed)
        own = ObjectSource(source.session, "bucket", "key") if seed % 2 else source
        for _ in range(15):
            start = chance.randrange(SIZE)
            stop = chance.randrange(start, SIZE + 100)
            expected = DATA[start:stop]
            stream = own(start, stop)
            if chance.random() < 0.5:
                buffer = bytearray(len(expected) + 5)
                assert buffer[: stream.readinto(buffer)] == expected
            elif chance.random() < 0.5:
                assert b"".join(stream) == expected
            elif expected:
                assert expected.startswith(next(stream))  # and is dropped half-read

    for result in [in_thread(lambda seed=seed: read(seed)) for seed in range(12)]:
        result()
    assert source.session.budget.used == 0
    wait_until(lambda: source.session.pool.in_use == 0)


STEPS = st.lists(
    st.one_of(
        st.just(("next", 0)),
        st.just(("prefetch", 0)),
        st.tuples(st.just("readinto"), st.sampled_from([0, 1, 100, PART - 1, PART, 3 * PART])),
    ),
    max_size=12,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    steps=STEPS,
    start=st.sampled_from([None, 0, 1, PART, SIZE - 1, SIZE, SIZE + 1, -1, -PART - 1, -SIZE - 1]),
    length=st.sampled_from([None, 0, 1, PART, 3 * PART + 1, 2 * SIZE]),
    seed=st.integers(0, 2**16),
)
def test_any_use_of_a_stream_gives_the_objects_bytes(
    scripted: Any,
    new_session: Callable[..., Session],
    steps: list[tuple[str, int]],
    start: int | None,
    length: int | None,
    seed: int,
) -> None:
    """A plain twin: the object's bytes and a position. A negative start is a tail."""
    server = scripted(FlakyObject(DATA, seed))
    session = new_session(server.endpoint, max_attempts=6)
    source = ObjectSource(session, "bucket", "key")
    if start is not None and start < 0:
        stream, position, end = source.tail(-start), max(0, SIZE + start), SIZE
    else:
        position = start or 0
        end = SIZE if length is None else min(position + length, SIZE)
        stream = source(start, None if length is None else position + length)
    for step, count in steps:
        if step == "prefetch":
            stream.prefetch()
        elif step == "next":
            view = next(stream, b"")
            assert view or position >= end
            assert view == DATA[position : position + len(view)]
            position += len(view)
        else:
            buffer = bytearray(count)
            expected = DATA[position : min(position + count, end)]
            assert buffer[: stream.readinto(buffer)] == expected
            position += len(expected)
        assert stream.tell() == position
    assert b"".join(stream) == DATA[position:end]
    session.close()
    server.close()
