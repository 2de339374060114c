"""The same random use of the readers as in memory, over a real server and the client's streams."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from reading import Reading, scale_down
from servers.embedded_s3 import S3

from s3reader.constructor import S3ReaderConstructor

PART = 4096  # the smallest there is: objects of a few thousand bytes then have several


class Asked:
    """What a state machine wants to know of a source, from a reader's own counts."""

    fail_at: int | None = None

    def __init__(self, reader: Any) -> None:
        self.reader = reader

    @property
    def size(self) -> int | None:
        size: int | None = self.reader._get_stream.size
        return size

    @property
    def infos(self) -> int:
        return sum(
            count for name, count in self.reader.stats()["requests"].items() if name == "HeadObject"
        )


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
def test_reader_agrees_with_bytesio(
    constructor: Any, s3: S3, bucket: str, new_client: Callable[..., Any]
) -> None:
    client = new_client(part_size=PART)
    stored = set()

    class OverS3(Reading):
        def open(self, data: bytes, chunk_size: int) -> tuple[Any, Any]:
            scale_down()
            key = f"readers/{hashlib.sha256(data).hexdigest()}"
            if key not in stored:
                s3.put(bucket, key, data)
                stored.add(key)
            reader = client.get_object(bucket, key, reader_constructor=constructor)
            return reader, Asked(reader)

    run_state_machine_as_test(
        OverS3,
        settings=settings(
            max_examples=25,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
