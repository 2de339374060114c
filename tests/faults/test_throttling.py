"""A server that answers 503 above a rate; the client's own delays and pace are at work."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from servers.faults import PART, pattern
from servers.nginx import Nginx, nginx_binary

from s3reader import S3Client, S3Reader
from s3reader.constructor import S3ReaderConstructor

THREADS = 4


@pytest.fixture
def impatient() -> None:
    """Not here: how long to wait is what this is about."""


def read_all(reader: S3Reader, count: int) -> bytes:
    return reader.read()


def read_into(reader: S3Reader, count: int) -> bytes:
    buffer = bytearray(count)
    assert reader.readinto(buffer) == count
    return bytes(buffer)


@pytest.mark.parametrize(
    ("read", "parts", "rate"),
    [
        pytest.param(read_all, 150, 200, id="as many parts at once as a window holds"),
        pytest.param(read_into, 600, 1000, id="all parts at once"),
    ],
)
def test_throttled_reads_all_complete_with_few_requests(
    tmp_path: Path,
    new_client: Callable[..., S3Client],
    read: Callable[[S3Reader, int], bytes],
    parts: int,
    rate: int,
) -> None:
    """``rate`` is the requests a second that are answered with other than 503."""
    data = pattern(parts * PART)
    failures: list[BaseException] = []
    limits: list[int] = []

    def run() -> None:
        try:
            reader = client.get_object(
                "faults", "throttled", reader_constructor=S3ReaderConstructor.range_based(0)
            )
            with reader:
                assert read(reader, len(data)) == data
        except BaseException as error:
            failures.append(error)

    with Nginx(nginx_binary(os.environ), tmp_path / "limited", rate=rate) as limited:
        limited.put("faults", "throttled", data)
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
        threads = [threading.Thread(target=run) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        # It falls by half and wins that back by hundreds of successes: no look comes between.
        while any(thread.is_alive() for thread in threads):
            limits.append(client._session.fetcher.limit)
            threads[0].join(0.002)
            time.sleep(0.002)
        stats = client.stats()
    assert not failures
    assert stats["throttles"] > 0
    assert min(limits) < most
    assert stats["requests"]["GetObject"] < 1.5 * THREADS * parts
