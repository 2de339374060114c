"""A transfer of three parts, broken once at each of its bytes, in either direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
from servers.fault_proxy import Fault, FaultProxy
from servers.faults import PART, pattern
from servers.nginx import Nginx

from s3reader import S3Client, S3Reader
from s3reader.constructor import S3ReaderConstructor

DATA = pattern(2 * PART + 100)
QUICK_STEP = 61  # a prime, so that different places of the heads are met

WAYS = {"in one": S3ReaderConstructor.range_based(0), "by chunks": S3ReaderConstructor.sequential()}


def take_all(reader: S3Reader, way: str) -> bytes:
    if way == "in one":
        buffer = bytearray(len(DATA) + 10)
        return bytes(buffer[: reader.readinto(buffer)])
    return b"".join(iter(lambda: reader.read(1000), b""))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("toward", ["client", "server"])
@pytest.mark.parametrize("action", ["reset", "close"])
@pytest.mark.parametrize("step", [QUICK_STEP, pytest.param(1, marks=pytest.mark.slow)])
def test_break_at_any_byte_is_made_good(
    nginx: Nginx,
    new_proxy: Callable[[int], FaultProxy],
    new_client: Callable[..., S3Client],
    action: Literal["reset", "close"],
    toward: Literal["client", "server"],
    way: str,
    step: int,
) -> None:
    nginx.put("faults", "every-offset", DATA)
    proxy = new_proxy(nginx.port)
    client = new_client(proxy.endpoint, unsigned=True, credentials=None, max_connections=1)

    def read() -> bytes:
        source = client.get_object("faults", "every-offset", reader_constructor=WAYS[way])
        with source as reader:
            return take_all(reader, way)

    assert read() == DATA
    proxy.plan()
    assert read() == DATA
    whole = proxy.passed(toward)
    assert whole > (len(DATA) if toward == "client" else 300)
    for after in range(0, whole, step):
        proxy.plan(Fault(action, after, toward))
        assert read() == DATA, f"{action} before byte {after}"
    assert proxy.fired == len(range(0, whole, step))
