"""Objects read together where some go wrong: those fail or are mended, and no other notices."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from clients import client_for
from servers.faults import PART, Fault, FaultyObject, cut, headers, pattern, status
from servers.scripted import Reply, Request, ScriptedServer
from transfers import POISON, silent, stays_poisoned

from s3reader import (
    AccessDeniedError,
    ObjectChangedError,
    ObjectTooLargeError,
    S3Client,
    S3Exception,
    S3TimeoutError,
)

__all__ = ["client_for"]

SIZES = [0, 1, 100, PART - 1, PART, PART + 1, 3 * PART, 5 * PART + 7]
COUNT = 40


class Shelf:
    """A script that serves objects by key, each of which may go wrong in its own way."""

    def __init__(self) -> None:
        self.objects = {
            f"key-{number}": FaultyObject(pattern(SIZES[number % len(SIZES)] + 4)[4:])
            for number in range(COUNT)
        }

    def __call__(self, request: Request) -> Reply:
        return self.objects[request.target.rsplit("/", 1)[1]](request)

    @property
    def keys(self) -> list[str]:
        return list(self.objects)

    def data(self, key: str) -> bytes:
        return self.objects[key].data

    def go_wrong(self, fault: Fault | None, every: int = 3, times: int | None = None) -> list[str]:
        """Spoil some objects; returns their keys."""
        spoiled = self.keys[::every]
        for key in spoiled:
            self.objects[key].go_wrong(fault, times)
        return spoiled


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def server(scripted: Callable[..., ScriptedServer], shelf: Shelf) -> ScriptedServer:
    return scripted(shelf)


@pytest.fixture
def client(server: ScriptedServer, client_for: Callable[..., S3Client]) -> S3Client:
    return client_for(
        server.endpoint,
        part_size=PART,
        max_connections=4,
        max_attempts=4,
        first_byte_timeout=10.0,
        stall_timeout=10.0,
    )


def not_the_first(request: Request) -> bool:
    return "bytes=0-" not in request.headers["range"]


MENDED: dict[str, tuple[Fault, int]] = {
    "cut in the head": (cut(20), 2),
    "cut in the body": (cut(400), 2),
    "reset in the body": (cut(400, reset=True), 2),
    "throttled": (status(503, "SlowDown"), 1),
    "internal error": (status(500, "InternalError"), 2),
}


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("name", MENDED)
def test_fault_that_passes_is_mended(
    client: S3Client, shelf: Shelf, name: str, ordered: bool
) -> None:
    fault, times = MENDED[name]
    shelf.go_wrong(fault, times=times)
    fetched = list(client.read_many("bucket", shelf.keys, ordered=ordered))
    assert len(fetched) == COUNT
    for one in fetched:
        assert bytes(one.data) == shelf.data(one.key)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("placed", [True, False])
def test_fault_that_stays_is_its_objects_own(
    client: S3Client, shelf: Shelf, ordered: bool, placed: bool
) -> None:
    spoiled = shelf.go_wrong(status(403, "AccessDenied"))
    into = [bytearray([POISON]) * (6 * PART) for _ in shelf.keys] if placed else None
    fetched = list(
        client.read_many("bucket", shelf.keys, ordered=ordered, into=into, errors="return")
    )
    assert len(fetched) == COUNT
    for one in fetched:
        if one.key in spoiled:
            assert isinstance(one.error, AccessDeniedError)
            assert one.key in str(one.error)
            if into is not None:
                assert into[one.index] == bytes([POISON]) * (6 * PART)
        else:
            assert bytes(one.data) == shelf.data(one.key)


def test_first_error_in_order_is_the_one_that_is_raised(client: S3Client, shelf: Shelf) -> None:
    spoiled = shelf.go_wrong(status(403, "AccessDenied"), every=7)[1:]
    shelf.objects["key-0"].go_wrong(None)
    batch = client.read_many("bucket", shelf.keys)
    seen = []
    with pytest.raises(AccessDeniedError) as met:
        seen.extend(one.key for one in batch)
    assert met.value.key == spoiled[0]
    assert seen == shelf.keys[: shelf.keys.index(spoiled[0])]


def test_object_that_changes_between_its_parts_is_an_error(client: S3Client, shelf: Shelf) -> None:
    key = "key-7"  # of several parts
    shelf.objects[key].go_wrong(headers(ETag='"another"'), where=not_the_first)
    for one in client.read_many("bucket", shelf.keys, errors="return"):
        if one.key == key:
            assert isinstance(one.error, ObjectChangedError)
        else:
            assert bytes(one.data) == shelf.data(one.key)


def test_part_of_a_large_object_that_fails_is_its_own_error(client: S3Client, shelf: Shelf) -> None:
    spoiled = ["key-6", "key-7"]
    for key in spoiled:
        shelf.objects[key].go_wrong(status(403, "AccessDenied"), where=not_the_first)
    for ordered in (True, False):
        fetched = list(client.read_many("bucket", shelf.keys, errors="return", ordered=ordered))
        assert sorted(one.key for one in fetched if one.error is not None) == spoiled
    assert client._session.budget.used == 0


def test_object_that_no_memory_could_hold_is_its_own_error(client: S3Client, shelf: Shelf) -> None:
    told = headers(Content_Range=f"bytes 0-{PART - 1}/{10**17}")
    shelf.objects["key-7"].go_wrong(told)
    for one in client.read_many("bucket", shelf.keys, errors="return"):
        if one.key == "key-7":
            assert isinstance(one.error, ObjectTooLargeError)
        else:
            assert bytes(one.data) == shelf.data(one.key)
    assert client._session.budget.used == 0


def test_silence_ends_in_an_error_and_others_have_come(
    server: ScriptedServer, shelf: Shelf, client_for: Callable[..., S3Client]
) -> None:
    client = client_for(server.endpoint, part_size=PART, max_attempts=1, first_byte_timeout=0.3)
    shelf.objects["key-3"].go_wrong(silent)
    fetched = {
        one.key: one
        for one in client.read_many("bucket", shelf.keys, ordered=False, errors="return")
    }
    assert isinstance(fetched.pop("key-3").error, S3TimeoutError)
    for key, one in fetched.items():
        assert bytes(one.data) == shelf.data(key)


def test_slow_object_does_not_hold_up_those_that_need_no_order(
    client: S3Client, shelf: Shelf
) -> None:
    held = threading.Event()

    def hold(request: Request, reply: Reply) -> Reply:
        held.wait(30)
        return reply

    shelf.objects["key-0"].go_wrong(hold)
    batch = client.read_many("bucket", shelf.keys, ordered=False)
    for _ in range(COUNT - 1):
        assert next(batch).key != "key-0"
    held.set()
    assert next(batch).key == "key-0"
    assert list(batch) == []


def test_nothing_is_written_after_close(client: S3Client, shelf: Shelf) -> None:
    buffers = [bytearray(6 * PART) for _ in shelf.keys]
    slow = lambda request, reply: Reply(  # noqa: E731
        reply.status, reply.headers, reply.body, delay_at=len(reply.body) // 2, pause=0.05
    )
    shelf.go_wrong(slow, every=1)
    batch = client.read_many("bucket", shelf.keys, into=buffers)
    next(batch)
    batch.close()
    for buffer in buffers:
        assert stays_poisoned(buffer, 0.01)
        buffer.clear()
    assert list(batch) == []


@pytest.mark.parametrize("several", [True, False])
def test_buffer_is_the_callers_again_while_the_error_is_kept(
    client: S3Client, shelf: Shelf, several: bool
) -> None:
    spoiled = shelf.go_wrong(status(403, "AccessDenied"), every=COUNT - 1)
    flat = bytearray(COUNT * 6 * PART)
    into = memoryview(flat).cast("B", (COUNT, 6 * PART)) if several else flat
    batch = client.read_many("bucket", shelf.keys[1:], into=into)
    with pytest.raises(AccessDeniedError) as met:
        deque(batch, maxlen=0)
    if several:
        into.release()
    flat.clear()
    assert met.value.key == spoiled[-1]


def test_client_that_is_closed_meanwhile(client: S3Client, shelf: Shelf) -> None:
    shelf.go_wrong(silent, every=2)
    batch = client.read_many("bucket", shelf.keys)
    closing = threading.Timer(0.2, client.close)
    closing.start()
    began = time.monotonic()
    with pytest.raises(ValueError, match="closed"):
        list(batch)
    assert time.monotonic() - began < 5
    closing.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("taken", [0, 1, 17, COUNT])
def test_both_sides_of_a_fork_go_on(
    client: S3Client, shelf: Shelf, ordered: bool, taken: int
) -> None:
    def rest_is_right(batch: Iterator[Any], before: set[str]) -> bool:
        rest = {one.key: bytes(one.data) for one in batch}
        return rest == {key: shelf.data(key) for key in shelf.keys if key not in before}

    batch = client.read_many("bucket", shelf.keys, ordered=ordered)
    before = {next(batch).key for _ in range(taken)}
    child = os.fork()
    if child == 0:
        right = False
        try:
            right = rest_is_right(batch, before)
        finally:
            os._exit(0 if right else 1)
    assert rest_is_right(batch, before)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("seed", range(6))
def test_any_mixture(client: S3Client, shelf: Shelf, seed: int) -> None:
    """Random faults, limits and ends: right bytes or a typed error for each, nothing left over."""
    choose = random.Random(seed)
    faults: list[tuple[Fault | None, int | None]] = [
        (None, None),
        (status(403, "AccessDenied"), None),
        (status(404, "NoSuchKey"), None),
        (headers(Content_Range="bytes 1-9/10"), None),
        *MENDED.values(),
    ]
    for one in shelf.objects.values():
        one.go_wrong(*choose.choice(faults))
    keys = choose.choices(shelf.keys, k=120)
    batch = client.read_many(
        "bucket",
        iter(keys),
        ordered=choose.random() < 0.5,
        into=choose.choice([None, [bytearray(6 * PART) for _ in keys]]),
        errors="return",
    )
    for count, fetched in enumerate(batch, 1):
        assert keys[fetched.index] == fetched.key
        if fetched.error is None:
            assert bytes(fetched.data) == shelf.data(fetched.key)
        else:
            assert isinstance(fetched.error, S3Exception)
        if count == 100 and seed % 2:
            batch.close()
    assert count == (100 if seed % 2 else 120)
    assert client._session.budget.used == 0
