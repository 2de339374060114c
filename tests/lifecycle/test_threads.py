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
from servers.faults import pattern
from servers.scripted import Reply, Request, ScriptedServer, object_script
from transfers import wait_until

from s3reader import S3Client

THREADS = 16
ROUND = 20_000  # operations after which the server forgets what it was asked
OBJECTS = {f"good/{number}": pattern(3000 + 2500 * number)[number:] for number in range(8)}

Scripted = Callable[..., ScriptedServer]
ClientFor = Callable[..., S3Client]


def objects(request: Request) -> Reply:
    """The good ones as they are; each bad one goes wrong in a way of its own."""
    key = request.target.removeprefix("/bucket/")
    if key in OBJECTS:
        reply = object_script(OBJECTS[key])(request)
        broken = request.index % 97 == 0
        return dataclasses.replace(reply, cut_after=700, reset=True) if broken else reply
    reply = object_script(pattern(9000))(request)
    return {
        "bad/404": Reply(404),
        "bad/403": Reply(403, {}, b"<Error><Code>AccessDenied</Code></Error>"),
        "bad/reset": dataclasses.replace(reply, cut_after=20, reset=True),
        "bad/short": Reply(reply.status, {**reply.headers, "Content-Length": "100"}, b"x" * 100),
        "bad/changed": Reply(
            reply.status,
            {**reply.headers, "ETag": f'"{request.index}"'},
            reply.body,
        ),
    }[key]


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
def test_a_million_operations(scripted: Scripted, client_for: ClientFor) -> None:
    """As many as there is time for: S3READER_TEST_SECONDS, by default twenty minutes."""
    until = time.monotonic() + float(os.environ.get("S3READER_TEST_SECONDS", "1200"))
    server = scripted(objects)
    client = client_for(server.endpoint, part_size=4096, max_attempts=4, max_connections=8)
    done: Counter[str] = Counter()
    first = resident()
    while sum(done.values()) < 1_000_000 and time.monotonic() < until:
        hammer = hammered(client, ROUND, until - time.monotonic(), seed=sum(done.values()))
        done += hammer.done
        server.answer_by(objects)
        moved = (resident() - first) / 1e6
        print(f"{sum(done.values())} operations, memory moved by {moved:.1f} MB", flush=True)
    print(dict(done), client.stats())
