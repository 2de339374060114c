"""Trials: that each reader reads what it says, and that what is counted was there."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Any

import pytest
from servers.embedded_s3 import S3
from servers.nginx import Nginx
from servers.scripted import Reply

from s3reader import ObjectChangedError, ObjectInfo, S3Client, S3ClientConfig
from s3reader.bench import trial
from s3reader.bench.candidates import (
    DEFAULT_CONNECTIONS,
    LARGE_READERS,
    SMALL_READERS,
    Candidate,
)
from s3reader.bench.loads import ENOUGH, ITEM, MOST_READERS, Load, Memory
from s3reader.bench.trial import Silent, measure
from s3reader.config import MiB
from s3reader.session import Session

EVERYTHING = 10**12  # bytes; no limit
LARGE = 20 * MiB


def served(nginx: Nginx, size: int, count: int = 1) -> list[ObjectInfo]:
    """So many objects of the bucket "bench", as a listing would tell of them."""
    objects = []
    with S3Client(
        "us-east-1", endpoint=nginx.endpoint, s3client_config=S3ClientConfig(unsigned=True)
    ) as client:
        for number in range(count):
            key = f"{size}-{number}"
            nginx.put("bench", key, bytes(size))
            head = client.head_object("bench", key)
            objects.append(ObjectInfo(key, head.etag, head.size, head.last_modified))
    return objects


def client_of(endpoint: str, candidate: Candidate) -> S3Client:
    config = S3ClientConfig(
        part_size=candidate.part_size,
        max_connections=candidate.connections,
        unsigned=True,
        max_attempts=1,
    )
    return S3Client("us-east-1", endpoint=endpoint, s3client_config=config)


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name != "s3reader-supervisor"}


@pytest.mark.parametrize("reader", [*LARGE_READERS, *SMALL_READERS])
def test_every_reader_reads_and_leaves_no_thread(nginx: Nginx, reader: str) -> None:
    small = reader in SMALL_READERS
    objects = served(nginx, 50_000 if small else LARGE, 20 if small else 2)
    load = Load("bench", objects, small, Memory(LARGE))
    before = threads()
    candidate = Candidate(reader, connections=4)
    client = client_of(nginx.endpoint, candidate)
    outcome = measure(client, load, candidate, 0.4, EVERYTHING)
    assert threads() == before
    assert outcome.candidate == candidate
    assert 0.2 < outcome.seconds < 10
    assert 0 < outcome.bytes <= outcome.spent
    assert outcome.rate == outcome.bytes / outcome.seconds
    assert outcome.requests > 0
    assert outcome.first_byte > 0
    assert (outcome.retries, outcome.throttles) == (0, 0)
    assert outcome.cpu > 0
    if small:
        # Each takes one request; a few may be under way at either end.
        assert abs(outcome.objects - outcome.bytes / 50_000) <= 4 * 32
    with pytest.raises(ValueError, match="closed"):
        client.get_object("bench", objects[0].key).read()


def test_settings_are_those_of_the_candidate(s3: S3, bucket: str, new_client: Any) -> None:
    key = f"bench-{secrets.token_hex(4)}"
    s3.put(bucket, key, bytes(2 * MiB))
    client = new_client(part_size=MiB // 2, max_connections=3)
    info = ObjectInfo(key, client.head_object(bucket, key).etag, 2 * MiB, 0)
    load = Load(bucket, [info], False, Memory(2 * MiB))
    load.readers = 1
    measure(client, load, Candidate("ranged", MiB // 2, 3), 0.3, EVERYTHING)
    requests = s3.requests("GetObject")
    assert {entry.length for entry in requests} == {MiB // 2}
    assert len({entry.connection for entry in requests}) <= 3


def test_bytes_end_a_trial(nginx: Nginx) -> None:
    load = Load("bench", served(nginx, LARGE), False, Memory(LARGE))
    candidate = Candidate("ranged", connections=2)
    outcome = measure(client_of(nginx.endpoint, candidate), load, candidate, 60, 30 * MiB)
    assert outcome.seconds < 10
    assert outcome.bytes > 0


def test_error_of_a_thread_ends_the_trial(nginx: Nginx) -> None:
    (info,) = served(nginx, LARGE)
    changed = ObjectInfo(info.key, '"another"', info.size, 0)
    load = Load("bench", [changed], False, Memory(LARGE))
    before = threads()
    candidate = Candidate("ranged")
    with pytest.raises(ObjectChangedError):
        measure(client_of(nginx.endpoint, candidate), load, candidate, 5, EVERYTHING)
    assert threads() == before


def test_silent_server_ends_the_trial(
    scripted: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "LONGEST_SILENCE", 0.3)
    info = ObjectInfo("key", '"tag"', LARGE, 0)
    load = Load("bench", [info], False, Memory(LARGE))
    candidate = Candidate("ranged")
    with pytest.raises(Silent, match=r"no byte came within 0\.3 s"):
        measure(
            client_of(scripted([Reply(silent=True)]).endpoint, candidate),
            load,
            candidate,
            5,
            EVERYTHING,
        )


@pytest.mark.parametrize(
    ("size", "readers"),
    [(ENOUGH, 1), (10 * ENOUGH, 1), (ENOUGH // 2, 2), (ENOUGH // 2 - 1, 3), (MiB, MOST_READERS)],
)
def test_objects_that_are_not_large_enough_are_read_together(size: int, readers: int) -> None:
    info = ObjectInfo("key", '"tag"', size, 0)
    memory = Memory(MOST_READERS * ITEM)
    assert Load("bench", [info], False, memory).readers == readers
    assert Load("bench", [info], True, memory).readers == 1


def test_default_connections_are_the_clients() -> None:
    assert Session("us-east-1", None, "", S3ClientConfig())._max_connections() == (
        DEFAULT_CONNECTIONS
    )
