"""Random schedules of faults and reader operations; see `schedules` for what must hold.

A few of each kind run by default. ``S3READER_TEST_SCHEDULES`` asks for that many in all, and
``S3READER_TEST_SECONDS`` bounds how long they may take together (``tox -e faults``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from schedules import Backend, CheckpointSchedule, Schedule, Tally, run_schedules
from servers.embedded_s3 import EmbeddedS3
from servers.fault_proxy import FaultProxy
from servers.faults import FaultyObject
from servers.nginx import Nginx
from servers.scripted import ScriptedServer

from s3reader import S3Client
from s3reader.constructor import S3ReaderConstructor

QUICK = 8  # schedules of one kind
BATCH = 50
LONG_TIMEOUT = 3600  # seconds for one kind in a long run; S3READER_TEST_SECONDS ends it before

READERS: dict[str, type[Schedule]] = {
    "sequential": Schedule,
    "window": type(
        "Window", (Schedule,), {"constructor": S3ReaderConstructor.sequential(window=5000)}
    ),
    "ranged": type(
        "Ranged", (Schedule,), {"constructor": S3ReaderConstructor.range_based(buffer_size=700)}
    ),
    "unbuffered": type(
        "Unbuffered", (Schedule,), {"constructor": S3ReaderConstructor.range_based(buffer_size=0)}
    ),
    "checkpoint": CheckpointSchedule,
    "gaps": type("Gaps", (CheckpointSchedule,), {"gap": 0}),
}
SERVERS = ("scripted", "nginx", "moto")
KINDS = len(READERS) * len(SERVERS)


@pytest.fixture
def backend(
    request: pytest.FixtureRequest,
    new_client: Callable[..., S3Client],
    new_proxy: Callable[[int], FaultProxy],
    scripted: Callable[..., ScriptedServer],
) -> Backend:
    """The server that the test is parametrized with, one object of each size in it."""
    if request.param == "scripted":
        script = FaultyObject(b"")
        proxy = new_proxy(scripted(script).port)
        return Backend(new_client(proxy.endpoint), proxy, "bucket", lambda *_: None, script)
    if request.param == "nginx":
        nginx: Nginx = request.getfixturevalue("nginx")
        proxy = new_proxy(nginx.port)
        client = new_client(proxy.endpoint, unsigned=True, credentials=None)
        made = Backend(client, proxy, "schedules", lambda *put: nginx.put("schedules", *put))
    else:
        s3: EmbeddedS3 = request.getfixturevalue("embedded_s3")
        bucket = s3.create_bucket()
        proxy = new_proxy(s3.port)
        client = new_client(proxy.endpoint, credentials=s3.credentials)
        made = Backend(client, proxy, bucket, lambda *put: s3.put(bucket, *put))
    made.store()
    return made


@pytest.mark.timeout(LONG_TIMEOUT)
@pytest.mark.parametrize("backend", SERVERS, indirect=True)
@pytest.mark.parametrize("kind", READERS)
def test_every_step_gives_exact_bytes_or_a_typed_error(
    backend: Backend, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = int(os.environ.get("S3READER_TEST_SCHEDULES", "0"))
    seconds = float(os.environ.get("S3READER_TEST_SECONDS", "inf")) / KINDS
    count = -(-wanted // KINDS) or QUICK
    tally = Tally()
    members: dict[str, Any] = {"backend": backend, "tally": tally}
    machine = type(READERS[kind].__name__, (READERS[kind],), members)
    began = time.monotonic()
    while tally.schedules < count and time.monotonic() - began < seconds:
        run_schedules(machine, min(BATCH, count - tally.schedules))
    if wanted:
        with capsys.disabled():
            print(f"\n{kind}: {tally}, {backend.proxy.fired} faults of the connection")
        assert tally.schedules >= count, "out of time"
