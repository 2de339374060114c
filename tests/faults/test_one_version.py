"""An object overwritten between and during reads: the old bytes or an error, never both versions.

Each version is one byte repeated, so that a mixture shows at once.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from servers.embedded_s3 import EmbeddedS3
from servers.fault_proxy import Fault, FaultProxy
from servers.faults import PART, FaultyObject
from servers.nginx import Nginx
from servers.scripted import Reply, Request, ScriptedServer, object_script

from s3reader import ItemRange, ObjectChangedError, S3Client, S3Reader
from s3reader.constructor import S3ReaderConstructor
from s3reader.dcp_optimized import DCPOptimizedS3Reader

SIZE = 6 * PART + 100
OLD = b"\x01" * SIZE
SIZES = {"same size": SIZE, "shorter": 3 * PART + 5, "longer": 9 * PART, "empty": 0}
CHANGES = 25  # reads in one run against a real server


def in_pieces(reader: S3Reader) -> Iterator[bytes]:
    return iter(lambda: reader.read(1000), b"")


def in_one(reader: S3Reader) -> Iterator[bytes]:
    yield reader.read()


def into_buffer(reader: S3Reader) -> Iterator[bytes]:
    """In parallel parts, straight from the socket."""
    buffer = bytearray(SIZE)
    yield bytes(buffer[: reader.readinto(buffer)])


def from_the_end(reader: S3Reader) -> Iterator[bytes]:
    reader.seek(-2000, os.SEEK_END)
    yield reader.read(2000)
    reader.seek(0)
    yield reader.read(SIZE - 2000)


def item_by_item(reader: S3Reader) -> Iterator[bytes]:
    for start, end in itertools.pairwise(range(0, SIZE + 1, 4 * 773)):
        reader.seek(start)
        yield reader.read(end - start)


def checkpoint(**given: Any) -> DCPOptimizedS3Reader:
    items = [ItemRange(*pair) for pair in itertools.pairwise(range(0, SIZE + 1, 4 * 773))]
    return DCPOptimizedS3Reader(item_ranges=items, max_gap_size=0, **given)


Way = tuple[Any, Callable[[S3Reader], Iterator[bytes]]]
WAYS: dict[str, Way] = {
    "sequential": (S3ReaderConstructor.sequential(), in_pieces),
    "sequential in one": (S3ReaderConstructor.sequential(), in_one),
    "sequential into": (S3ReaderConstructor.sequential(), into_buffer),
    "sequential from the end": (S3ReaderConstructor.sequential(), from_the_end),
    "window": (S3ReaderConstructor.sequential(window=PART), in_pieces),
    "ranged": (S3ReaderConstructor.range_based(buffer_size=5000), in_pieces),
    "ranged in one": (S3ReaderConstructor.range_based(), in_one),
    "ranged into": (S3ReaderConstructor.range_based(0), into_buffer),
    "ranged from the end": (S3ReaderConstructor.range_based(5000), from_the_end),
    "checkpoint": (checkpoint, item_by_item),
}


def versions_seen(client: S3Client, bucket: str, way: str) -> set[int]:
    """The versions that one reader gave bytes of, until its end or until it told of a change."""
    constructor, pieces = WAYS[way]
    seen: set[int] = set()
    with client.get_object(bucket, "key", reader_constructor=constructor) as reader:
        position = 0
        try:
            for piece in pieces(reader):
                seen.update(piece)
                position = reader.tell()
        except ObjectChangedError:
            if way != "sequential from the end" and way != "ranged from the end":
                assert reader.tell() in (position, position // (4 * 773) * 4 * 773)
            seen.add(0)
        except ValueError as error:  # the first answer was of a version too short for the way
            if not re.search("exhausted|negative seek", str(error)):
                raise
    return seen


class Overwritten(FaultyObject):
    """Becomes another object when the request of that number comes, or in its answer's body.

    A `deaf` server does not look at If-Match.
    """

    def __init__(self, new: bytes, number: int, *, during: bool, deaf: bool) -> None:
        super().__init__(OLD)
        self._new, self._left, self._during, self._deaf = new, number, during, deaf

    def __call__(self, request: Request) -> Reply:
        with self._lock:
            now, self._left = self._left == 0, self._left - 1
            if now and not self._during:
                self._right = self._other()
            right = self._right
            if now and self._during:
                self._right = self._other()
        reply = right(request)
        if now and self._during:  # the body breaks off; what goes on is the other object
            return dataclasses.replace(reply, cut_body_after=len(reply.body) // 2)
        return reply

    def _other(self) -> Callable[[Request], Reply]:
        script = object_script(self._new, '"another"')
        if not self._deaf:
            return script

        def answer(request: Request) -> Reply:
            headers = {name: text for name, text in request.headers.items() if name != "if-match"}
            return script(dataclasses.replace(request, headers=headers))

        return answer


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("during", [False, True], ids=["between", "during"])
@pytest.mark.parametrize("deaf", [False, True], ids=["If-Match", "deaf"])
def test_overwritten_object_gives_one_version_or_an_error(
    scripted: Callable[..., ScriptedServer],
    new_client: Callable[..., S3Client],
    way: str,
    size: int,
    during: bool,
    deaf: bool,
) -> None:
    for number in (0, 1, 2, 3, 5, 8):
        server = scripted(Overwritten(b"\x02" * size, number, during=during, deaf=deaf))
        client = new_client(server.endpoint, max_connections=3)
        seen = versions_seen(client, "bucket", way) - {0}
        assert len(seen) <= 1, f"a mixture: {seen}"
        client.close()
        server.close()


@contextmanager
def overwriting(put: Callable[[bytes], object]) -> Iterator[None]:
    """Overwrites all the while, each time by a version of another byte and another size."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def overwrite() -> None:
        try:
            for number in itertools.count():
                if stop.wait(0.002):
                    return
                put(bytes([1 + number % 250]) * (SIZE + (0, 7, -300)[number % 3]))
        except BaseException as error:
            failures.append(error)

    put(OLD)
    thread = threading.Thread(target=overwrite)
    thread.start()
    yield
    stop.set()
    thread.join()
    assert not failures


def read_on(client: S3Client, bucket: str, proxy: FaultProxy, way: str) -> None:
    refused = 0
    for number in range(CHANGES):
        # Some delays, so that a change comes between and into the answers.
        proxy.plan(*(Fault("delay", at, seconds=0.004) for at in range(number, 6 * PART, 3000)))
        seen = versions_seen(client, bucket, way)
        refused += 0 in seen
        assert len(seen - {0}) <= 1, f"a mixture: {seen}"
    # From the end, one answer holds all of an object as small as this one.
    assert refused or "from the end" in way, "nothing was overwritten in time"


@pytest.mark.parametrize("way", WAYS)
def test_object_overwritten_all_the_while_in_nginx(
    nginx: Nginx,
    new_proxy: Callable[[int], FaultProxy],
    new_client: Callable[..., S3Client],
    way: str,
) -> None:
    times = itertools.count(1_000_000)
    folder = nginx.root / "versions"

    def put(data: bytes) -> None:
        """At once and with a time of its own, of which nginx makes the ETag."""
        nginx.put("versions", "new", data)
        moment = next(times)
        os.utime(folder / "new", (moment, moment))
        (folder / "new").rename(folder / "key")

    proxy = new_proxy(nginx.port)
    client = new_client(proxy.endpoint, unsigned=True, credentials=None)
    with overwriting(put):
        read_on(client, "versions", proxy, way)


@pytest.mark.parametrize("way", ["sequential", "ranged into", "checkpoint"])
def test_object_overwritten_all_the_while_in_moto(
    embedded_s3: EmbeddedS3,
    new_proxy: Callable[[int], FaultProxy],
    new_client: Callable[..., S3Client],
    way: str,
) -> None:
    bucket = embedded_s3.create_bucket()
    proxy = new_proxy(embedded_s3.port)
    client = new_client(proxy.endpoint, credentials=embedded_s3.credentials)
    with overwriting(lambda data: embedded_s3.put(bucket, "key", data)):
        read_on(client, bucket, proxy, way)
