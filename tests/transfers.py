"""Transfers made by hand, without the session and its judge: the core as its tests drive it."""

from __future__ import annotations

import time
from collections.abc import Callable

from servers.scripted import Reply, Request, ScriptedServer

from s3reader._ext.chunks import ChunkPool
from s3reader._ext.counters import Counters
from s3reader._ext.destination import Destination
from s3reader._ext.fetcher import Fetcher
from s3reader._ext.transfer import HeaderLines, Lane, SignedRequest, Transfer

POISON = 0xEE
FOREVER = 1e18


class Bench:
    """A fetcher, what its transfers need, and a server. This test is the one who decides."""

    def __init__(self, server: ScriptedServer, connections: int = 2) -> None:
        self.server = server
        self.counters = Counters()
        self.fetcher = Fetcher(self.counters, connections, "s3reader-test")
        self.pool = ChunkPool()

    def lane(self) -> Lane:
        return Lane(Counters(), self.counters)

    def transfer(
        self, lane: Lane, start: int | None, stop: int | None, into: bytearray | None = None
    ) -> Transfer:
        destination = Destination(into) if into is not None else None
        made = Transfer(lane, None, self.pool, start, stop, destination=destination)
        made.sign(SignedRequest(f"{self.server.endpoint}/b/k".encode(), HeaderLines([]), FOREVER))
        return made


def silent(request: Request, reply: Reply) -> Reply:
    return Reply(silent=True)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "waited 10 s"
        time.sleep(0.002)


def stays_poisoned(buffer: bytearray, seconds: float = 0.1) -> bool:
    """Whether nobody writes to the buffer any more."""
    buffer[:] = bytes([POISON]) * len(buffer)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)
    return buffer.count(POISON) == len(buffer)
