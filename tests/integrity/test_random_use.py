"""Readers used at random while bytes go wrong and connections break: what is whole is right."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from checksum_twins import ChecksummedObject
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import scale_down
from servers.faults import PART, cut, pattern
from servers.scripted import ScriptedServer

from s3reader import ChecksumError, S3Client, S3Exception, S3ReaderConstructor

DATA = pattern(3 * PART + 500)
SIZE = len(DATA)

places = st.integers(0, SIZE)
operations = st.one_of(
    st.tuples(st.just("seek"), places),
    st.tuples(st.just("seek from end"), places),
    st.tuples(st.just("read"), places),
    st.tuples(st.just("readinto"), places),
    st.tuples(st.just("peek"), places),
    st.tuples(st.just("whole"), st.just(0)),
    st.tuples(st.just("flip"), st.integers(0, SIZE - 1)),
    st.tuples(st.just("flip back"), st.just(0)),
    st.tuples(st.just("break"), st.integers(1, 2 * PART)),
)


class Held:
    """A reader, and what it gave of the object since it last began anew."""

    def __init__(self, reader: Any, script: ChecksummedObject) -> None:
        self.reader = reader
        self.script = script
        self.given: dict[int, int] = {}

    def do(self, name: str, number: int) -> None:
        if name == "flip":
            self.script.flipped = number
        elif name == "flip back":
            self.script.flipped = None
        elif name == "break":
            self.script.go_wrong(cut(number), times=3)  # one more than there are attempts
        else:
            try:
                getattr(self, name.replace(" ", "_"))(number)
            except S3Exception:
                assert self.reader.tell() == self.position
        if self.reader.integrity.verified == "whole":
            assert all(DATA[at] == byte for at, byte in self.given.items())

    @property
    def position(self) -> int:
        return self._position

    def _took(self, start: int, data: bytes) -> None:
        assert len(data) <= SIZE - start
        self.given.update(zip(range(start, start + len(data)), data, strict=True))

    def seek(self, number: int) -> None:
        self._position = self.reader.tell()
        self.reader.seek(number)

    def seek_from_end(self, number: int) -> None:
        self._position = self.reader.tell()
        self.reader.seek(-number, io.SEEK_END)

    def read(self, number: int) -> None:
        self._position = self.reader.tell()
        self._took(self._position, self.reader.read(number))

    def readinto(self, number: int) -> None:
        self._position = self.reader.tell()
        buffer = bytearray(number)
        count = self.reader.readinto(buffer)
        self._took(self._position, bytes(buffer[:count]))

    def peek(self, number: int) -> None:
        self._position = self.reader.tell()
        self._took(self._position, self.reader.peek(number))

    def whole(self, number: int) -> None:
        self.seek(0)
        self._position = self.reader.tell()
        buffer = bytearray(SIZE)
        assert self.reader.readinto(buffer) == SIZE
        if self.reader.integrity.verified == "whole":
            assert buffer == DATA
        self._took(0, bytes(buffer))


def finish(reader: Any) -> None:
    """With nothing going wrong any more the object can be read, and rightly after a mismatch."""
    mismatches = 0
    reader.seek(0)
    buffer = bytearray(SIZE)
    for _ in range(4):
        try:
            assert reader.readinto(buffer) == SIZE
            break
        except ChecksumError:  # it kept something wrong; not any more
            mismatches += 1
        except S3Exception:
            continue  # of a part that was on its way while connections broke
    else:
        pytest.fail("it cannot be read any more")
    assert mismatches <= 1
    assert reader.integrity.verified == "whole" or not mismatches
    assert buffer == DATA or reader.integrity.verified == "none"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[ChecksummedObject, ScriptedServer]]:
    script = ChecksummedObject(DATA, "crc32")
    with ScriptedServer(script) as running:
        yield script, running


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "constructor",
    [
        S3ReaderConstructor.sequential(),
        S3ReaderConstructor.sequential(window=5000),
        S3ReaderConstructor.range_based(),
        S3ReaderConstructor.range_based(buffer_size=700),
        S3ReaderConstructor.range_based(buffer_size=0),
    ],
    ids=["sequential", "window", "ranged", "small buffer", "unbuffered"],
)
def test_whole_is_right_whatever_happened(
    constructor: Any,
    server: tuple[ChecksummedObject, ScriptedServer],
    new_config: Callable[..., Any],
) -> None:
    script, running = server
    scale_down()
    with S3Client(
        "us-east-1", endpoint=running.endpoint, s3client_config=new_config(max_attempts=2)
    ) as client:
        script.go_wrong(None)
        script.flipped = None
        info = client.head_object("bucket", "key")

        @settings(
            max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None
        )
        @given(st.lists(operations, max_size=12))
        def use(steps: list[tuple[str, int]]) -> None:
            script.go_wrong(None)
            script.flipped = None
            reader = client.get_object(
                "bucket", "key", object_info=info, reader_constructor=constructor
            )
            held = Held(reader, script)
            for name, number in steps:
                held.do(name, number)
            script.go_wrong(None)
            script.flipped = None
            finish(reader)

        use()
