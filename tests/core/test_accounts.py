"""What is counted and what is bounded: the byte budget, the counts, the caller's buffers."""

from __future__ import annotations

import array
import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from servers.faults import PART, FaultyObject, pattern
from servers.scripted import ScriptedServer

from s3reader._ext.budget import Budget
from s3reader._ext.check import describe, transport_cause
from s3reader._ext.counters import Counters
from s3reader._ext.destination import Destination
from s3reader.errors import CAUSES
from s3reader.source import ObjectSource

DATA = pattern(20 * PART)

OpenSource = Callable[..., tuple[ObjectSource, ScriptedServer]]


class TestBudget:
    def test_gives_no_more_than_there_is(self) -> None:
        budget = Budget(100)
        assert budget.take(60)
        assert not budget.take(41)
        assert budget.take(40)
        assert budget.used == 100
        budget.give(40)
        assert (budget.used, budget.limit) == (60, 100)

    def test_force_goes_beyond(self) -> None:
        budget = Budget(100)
        assert budget.take(150, True)
        assert not budget.take(0)
        budget.give(150)
        assert budget.used == 0

    def test_streams_stay_within_and_give_all_back(self, open_source: OpenSource) -> None:
        source, _ = open_source(FaultyObject(DATA), memory_limit=3 * PART, max_connections=8)
        budget = source.session.budget
        streams = [ObjectSource(source.session, "bucket", "key")() for _ in range(4)]
        read = [bytearray() for _ in streams]
        highest = 0
        for _ in range(20):
            for stream, into in zip(streams, read, strict=True):
                into += next(stream)
                highest = max(highest, budget.used)
        for stream, into in zip(streams, read, strict=True):
            into += b"".join(stream)
        assert [bytes(into) for into in read] == [DATA] * 4
        assert highest <= (3 + len(streams)) * PART, "one forced part for each stream"
        assert budget.used == 0

    @pytest.mark.parametrize("way", ["close", "drop", "readinto", "error"])
    def test_stream_left_half_read_gives_all_back(self, open_source: OpenSource, way: str) -> None:
        faulty = FaultyObject(DATA)
        source, server = open_source(faulty)
        stream = source()
        next(stream)
        assert source.session.budget.used > 0
        if way == "close":
            stream.close()
            stream.close()
        elif way == "drop":
            del stream
        elif way == "readinto":
            stream.readinto(bytearray(len(DATA)))
        else:
            server.close()
            with pytest.raises(ConnectionError):
                b"".join(stream)
        assert source.session.budget.used == 0
        assert source.session.pool.in_use == 0


class TestCounters:
    def test_new_ones_are_all_zero(self) -> None:
        counted = Counters().snapshot()
        assert counted.pop("time_to_first_byte") == {"count": 0, "mean": 0, "p50": 0, "p99": 0}
        assert not any(counted.values())

    def test_what_is_read_is_counted(self, open_source: OpenSource) -> None:
        source, server = open_source(FaultyObject(DATA))
        assert source().readinto(bytearray(len(DATA))) == len(DATA)
        assert b"".join(source(10, 20)) == DATA[10:20]
        for counted in (source.stats(), source.session.stats()):
            assert counted["requests"] == {"GetObject": 21}
            assert counted["bytes_requested"] == len(DATA) + 10
            assert counted["bytes_received"] == len(DATA) + 10
            assert counted["retries"] == {}
            assert counted["connections_opened"] == server.connections
            assert counted["connections_opened"] + counted["connections_reused"] == 21
            times = counted["time_to_first_byte"]
            assert times["count"] == 21
            assert 0 < times["p50"] <= times["p99"] < 5
            assert 0 < times["mean"] < 5

    def test_sources_are_counted_apart_and_the_session_together(
        self, open_source: OpenSource
    ) -> None:
        source, _ = open_source(FaultyObject(DATA))
        other = ObjectSource(source.session, "bucket", "key")
        b"".join(source(0, 100))
        b"".join(other(0, 30))
        received = [each.stats()["bytes_received"] for each in (source, other)]
        assert received == [100, 30]
        assert source.session.stats()["bytes_received"] == 130


class TestDestination:
    @pytest.mark.parametrize(
        "buffer",
        [
            bytearray(24),
            memoryview(bytearray(24)),
            memoryview(bytearray(48))[12:36],
            array.array("d", [0.0] * 3),
            mmap.mmap(-1, 24),
            np.zeros((2, 3), dtype=np.float32),
            np.zeros((2, 3, 4), dtype=bool),
            np.zeros(3, dtype=np.complex64),
            np.zeros(6, dtype=">i4"),
        ],
        ids=lambda buffer: type(buffer).__name__,
    )
    def test_takes_any_writable_contiguous_buffer(self, buffer: Any) -> None:
        destination = Destination(buffer)
        assert len(destination) == 24
        destination.write(bytes(range(24)), 0)
        destination.release()
        assert memoryview(buffer).tobytes() == bytes(range(24))

    @pytest.mark.parametrize(
        ("buffer", "words"),
        [
            (b"bytes", "not read-only bytes"),
            (memoryview(b"bytes"), "not read-only memoryview"),
            ("text", "not str"),
            (None, "not NoneType"),
            (7, "not int"),
            ([1, 2], "not list"),
            (memoryview(bytearray(20))[::2], "not non-contiguous memoryview"),
            (np.zeros((4, 4))[:, 1], "not non-contiguous ndarray"),
            (np.zeros((4, 4)).T[1:, :], "not non-contiguous ndarray"),
            (np.asfortranarray(np.zeros((4, 4))), "not non-contiguous ndarray"),
            (np.frombuffer(b"12345678"), "not read-only ndarray"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_refuses_the_rest_before_any_request(
        self, open_source: OpenSource, buffer: Any, words: str
    ) -> None:
        source, server = open_source(FaultyObject(DATA))
        stream = source(5)
        with pytest.raises(TypeError, match=words):
            stream.readinto(buffer)
        assert stream.tell() == 5
        assert server.requests == []

    def test_holds_the_buffer_until_it_is_released(self) -> None:
        buffer = bytearray(10)
        destination = Destination(buffer)
        with pytest.raises(BufferError):
            buffer.append(1)
        destination.release()
        destination.release()
        buffer.append(1)
        assert len(destination) == 0

    def test_stream_lets_go_of_the_buffer_after_success_and_error(
        self, open_source: OpenSource
    ) -> None:
        source, server = open_source(FaultyObject(DATA))
        buffer = bytearray(100)
        source().readinto(buffer)
        buffer.append(1)
        server.close()
        with pytest.raises(ConnectionError):
            source().readinto(buffer)
        buffer.append(1)

    @pytest.mark.parametrize("offset", [-1, 7, 100])
    def test_writes_only_within(self, offset: int) -> None:
        destination = Destination(bytearray(10))
        with pytest.raises(ValueError, match="more bytes than the buffer takes"):
            destination.write(b"1234", offset)
        destination.release()
        with pytest.raises(ValueError, match="more bytes than the buffer takes"):
            destination.write(b"1234", 0)

    def test_empty_buffer_takes_nothing(self, open_source: OpenSource) -> None:
        source, server = open_source(FaultyObject(DATA))
        assert source().readinto(bytearray()) == 0
        assert server.requests == []


class TestCauses:
    def test_every_code_has_a_cause_of_the_closed_list(self) -> None:
        assert {transport_cause(code) for code in range(1, 120)} <= CAUSES

    def test_codes_have_libcurls_words(self) -> None:
        assert "resolve" in describe(6)
        assert describe(9999)
