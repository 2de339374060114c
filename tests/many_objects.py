"""Objects for reading many of them together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from servers.embedded_s3 import S3

from s3reader import FetchedObject, S3Client

SIZES = (0, 1, 5, 4095, 4096, 4097, 20_000, 100_000)


@pytest.fixture(scope="session")
def objects(s3_server: S3, bucket: str) -> dict[str, bytes]:
    """Objects of all kinds of sizes, by key."""
    made = {}
    for number, size in enumerate(SIZES):
        key = f"many/{number} of {size}"
        made[key] = bytes((number + position) % 251 for position in range(size))
        s3_server.put(bucket, key, made[key], Metadata={"number": str(number)})
    return made


@pytest.fixture(params=[4096, 8 * 1024 * 1024], ids=["in parts", "in one"])
def many(request: pytest.FixtureRequest, new_client: Callable[..., Any]) -> S3Client:
    """A client for which some objects are larger than a part, or none."""
    made: S3Client = new_client(part_size=request.param, max_connections=3)
    return made


def contents(fetched: Iterator[FetchedObject]) -> dict[str, bytes]:
    return {one.key: bytes(one.data) for one in fetched}
