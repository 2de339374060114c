"""A server that answers 503 above a rate; the client's own delays and pace are at work."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers.faults import PART, pattern
from servers.nginx import Nginx, nginx_binary

from s3reader import S3Client
from s3reader.constructor import S3ReaderConstructor

THREADS = 4
PARTS = 150
DATA = pattern(PARTS * PART)
RATE = 200  # requests a second


@pytest.fixture
def impatient() -> None:
    """Not here: how long to wait is what this is about."""


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Nginx]:
    with Nginx(nginx_binary(os.environ), tmp_path / "limited", rate=RATE) as server:
        server.put("faults", "throttled", DATA)
        yield server


def test_throttled_reads_all_complete_with_few_requests(
    limited: Nginx, new_client: Callable[..., S3Client]
) -> None:
    client = new_client(
        limited.endpoint,
        unsigned=True,
        credentials=None,
        max_attempts=10,
        retry_timeout=60.0,
        max_connections=32,
        first_byte_timeout=5.0,
    )
    limited.throttle(True)
    most = client._session.fetcher.limit
    limits: list[int] = []

    def read() -> None:
        reader = client.get_object(
            "faults", "throttled", reader_constructor=S3ReaderConstructor.range_based(0)
        )
        with reader:
            assert reader.read() == DATA

    failures: list[BaseException] = []

    def run() -> None:
        try:
            read()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    # It falls by half and wins that back by hundreds of successes: no look comes between.
    while any(thread.is_alive() for thread in threads):
        limits.append(client._session.fetcher.limit)
        threads[0].join(0.002)
        time.sleep(0.002)
    assert not failures
    stats = client.stats()
    assert stats["throttles"] > 0
    assert min(limits) < most
    assert stats["requests"]["GetObject"] < 1.5 * THREADS * PARTS
