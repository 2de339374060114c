"""Sixteen threads and one client: right bytes, no write after a call, nothing left behind."""

from __future__ import annotations

import dataclasses
import gc
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from lifecycle.hammer import Hammer
from lifecycle.hammered import OBJECTS, objects, serving
from servers.scripted import Reply, Request, ScriptedServer
from transfers import wait_until

from s3reader import S3Client

THREADS = 16
ROUND = 20_000  # operations between looks at the memory
MEMORY = 8_000_000  # bytes that may be resident more after a long run than after its first round

Scripted = Callable[..., ScriptedServer]
ClientFor = Callable[..., S3Client]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once: delays are the policy's, which has tests of its own."""
    monkeypatch.setattr("s3reader.judge.random.random", lambda: 0.0)


def hammered(client: S3Client, operations: int, seconds: float, seed: int = 1) -> Hammer:
    hammer = Hammer(client, OBJECTS, seed)
    hammer.run(THREADS, operations, seconds)
    assert hammer.wrong == []
    return hammer


def held() -> tuple[int, int]:
    gc.collect()
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def now_and_then_late(request: Request) -> Reply:
    """The same objects; one answer in fifty takes its time."""
    reply = objects(request)
    return dataclasses.replace(reply, delay=0.05) if request.index % 50 == 0 else reply


@pytest.mark.parametrize("hedge", [False, True], ids=["plain", "hedged"])
def test_threads_share_a_client_for_everything_at_once(
    scripted: Scripted, client_for: ClientFor, hedge: bool
) -> None:
    server = scripted(now_and_then_late if hedge else objects)
    client = client_for(
        server.endpoint, part_size=4096, max_attempts=4, max_connections=8, hedge=hedge
    )
    hammer = hammered(client, 1500, 60)
    assert sum(hammer.done.values()) >= 1500
    assert client.get_object("bucket", "good/7").read() == OBJECTS["good/7"]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_threads_and_files_are_back_when_the_client_is_gone(
    scripted: Scripted, client_for: ClientFor
) -> None:
    server = scripted(objects)
    before = held()
    client = client_for(server.endpoint, part_size=4096, max_attempts=4, max_connections=8)
    hammered(client, 300, 30, seed=2)
    client.close()
    server.close()
    wait_until(lambda: held()[0] <= before[0] and held()[1] <= before[1])


@pytest.mark.long
@pytest.mark.timeout(2600)
def test_a_million_operations(client_for: ClientFor, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them, in at most S3READER_TEST_SECONDS, and without memory that adds up."""
    wanted = int(os.environ.get("S3READER_TEST_OPERATIONS", "1000000"))
    until = time.monotonic() + float(os.environ.get("S3READER_TEST_SECONDS", "2400"))
    done: Counter[str] = Counter()
    began = time.monotonic()
    with serving() as endpoint:
        client = client_for(endpoint, part_size=4096, max_attempts=4, max_connections=8)
        first = 0
        while sum(done.values()) < wanted and time.monotonic() < until:
            left = min(ROUND, wanted - sum(done.values()))
            done += hammered(client, left, until - time.monotonic(), seed=sum(done.values())).done
            moved = resident() - first
            first = first or moved
        told = client.stats()
        client.close()
    with capsys.disabled():
        print(
            f"\n{sum(done.values())} operations by {THREADS} threads in "
            f"{time.monotonic() - began:.0f} s: {dict(done)}, {told['requests']}, retries "
            f"{told['retries']}; memory moved by {moved / 1e6:+.1f} MB after the first {ROUND}"
        )
    assert sum(done.values()) >= wanted, "out of time"
    assert moved < MEMORY
