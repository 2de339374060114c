"""Candidates: the settings that are tried, together with the reader that uses them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from s3reader import S3ClientConfig
from s3reader.config import MiB
from s3reader.session import EXPECTED_RATE

DEFAULT_PART = S3ClientConfig.part_size
DEFAULT_CONNECTIONS = math.ceil(S3ClientConfig.throughput_target_gbps * 1e9 / 8 / EXPECTED_RATE)

PART_SIZES = tuple(MiB * size for size in (4, 16, 32))
"""Bytes; beside the default. Smaller parts cost requests, larger ones leave connections idle at
an object's end."""

MOST_CONNECTIONS = 288

LARGE_READERS = ("ranged", "sequential", "dcp_optimized")
SMALL_READERS = ("read_many", "get_object")

READ_LIKE = {
    "ranged": "readinto(), large pieces",
    "sequential": "read(1 MiB), again and again",
    "dcp_optimized": "items of 8 MiB, in order",
    "read_many": "client.read_many()",
    "get_object": "get_object().read(), one thread",
}


@dataclass(frozen=True)
class Candidate:
    """A way to read: the reader, and a client's part size in bytes and connections."""

    reader: str
    part_size: int = DEFAULT_PART
    connections: int = DEFAULT_CONNECTIONS

    @property
    def default(self) -> bool:
        """Whether the settings are the ones that a client has by itself."""
        return (self.part_size, self.connections) == (DEFAULT_PART, DEFAULT_CONNECTIONS)

    def settings(self) -> dict[str, int]:
        """What differs from the default, as `S3ClientConfig` takes it."""
        given = {}
        if self.part_size != DEFAULT_PART:
            given["part_size"] = self.part_size
        if self.connections != DEFAULT_CONNECTIONS:
            given["max_connections"] = self.connections
        return given

    def __str__(self) -> str:
        return (
            f"{self.reader}, parts of {self.part_size / MiB:g} MiB, {self.connections} connections"
        )
