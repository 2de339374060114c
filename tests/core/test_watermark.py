"""Low-water marks, as the kernel has them: raised while much comes fast, and never in the way.

The server is in this process, so it can look at the mark of the very connection it sends on.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from servers.certificates import Certificates
from servers.faults import pattern
from servers.scripted import Reply, Request, ScriptedServer, object_script
from transfers import Bench, wait_until

from s3reader._ext.fetcher import Fetcher
from s3reader._ext.transfer import Transfer

MiB = 1024 * 1024
DATA = pattern(64 * MiB)
MARK = 256 * 1024
PIECE = 64 * 1024
ENOUGH = 2 * MARK  # bytes left for which a mark is raised


def mark_before(port: int) -> int:
    """The highest mark of this process's connections to a port; 0 where there is none."""
    highest = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as found:
                if found.family == socket.AF_INET and found.getpeername()[1] == port:
                    mark = found.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)
                    highest = max(highest, mark)
    return highest


@dataclass
class Sender:
    """Serves an object, and says what is sent when by what the mark is.

    Attributes:
        hold: bytes at the end that are held back until the client has all before.
        stop: whether to send nothing once the mark is raised until the client has what was sent.
        pause: seconds between pieces.
        short: bytes after which an answer ends, chunked and well-formed; 0 for all of them.
        raised: whether the mark was, during the latest answer.
        lowered: whether it was lowered by the time the client had all but what is held back.
    """

    hold: int = 0
    stop: bool = False
    pause: float = 0.0
    short: int = 0
    raised: bool = False
    lowered: bool = False
    port: int = 0
    transfer: Transfer | None = None

    def __call__(self, request: Request) -> Reply:
        reply = object_script(DATA)(request)
        if self.short:
            return replace(reply, body=reply.body[: self.short], chunked=True)
        headers = {**reply.headers, "Content-Length": str(len(reply.body))}
        return replace(reply, headers=headers, body=b"", feed=self.pieces(reply.body))

    def pieces(self, body: bytes) -> Iterator[bytes]:
        self.raised = self.lowered = False
        for at in range(0, len(body) - self.hold, PIECE):
            yield body[at : min(at + PIECE, len(body) - self.hold)]
            time.sleep(self.pause)
            if not self.raised and mark_before(self.port) == MARK:
                self.raised = True
                if self.stop:
                    self.wait_for(at + PIECE)
        if self.hold:
            self.wait_for(len(body) - self.hold)
            yield body[-self.hold :]

    def wait_for(self, sent: int) -> None:
        transfer = self.transfer
        assert transfer is not None
        wait_until(lambda: transfer.received >= sent and mark_before(self.port) == 1)
        self.lowered = True


Connect = Callable[[Sender], Bench]


@pytest.fixture(params=["plain", "tls"])
def connect(
    request: pytest.FixtureRequest,
    scripted: Callable[..., ScriptedServer],
    certificates: Certificates,
) -> Iterator[Connect]:
    """Makes a `Bench` of one connection to a sender, with TLS or without."""
    made: list[Bench] = []

    def make(sender: Sender) -> Bench:
        tls = request.param == "tls"
        server = scripted(sender, (certificates.chain, certificates.key) if tls else None)
        sender.port = server.port
        bench = Bench(server, 1)
        bench.fetcher.close()
        ca_bundle = certificates.authority if tls else None
        bench.fetcher = Fetcher(bench.counters, 1, "s3reader-test", ca_bundle=ca_bundle)
        made.append(bench)
        return bench

    yield make
    for bench in made:
        bench.fetcher.close()


def fetch(bench: Bench, sender: Sender, size: int) -> None:
    """Have so many bytes of the object, and see that they are right."""
    target = bytearray(size)
    lane = bench.lane()
    sender.transfer = bench.transfer(lane, 0, size, target)
    bench.fetcher.submit([sender.transfer])
    wait_until(lambda: sender.transfer is not None and sender.transfer.settled)
    assert sender.transfer.done
    assert target == DATA[:size]


def test_mark_is_raised_while_much_comes_fast(connect: Connect) -> None:
    sender = Sender()
    fetch(connect(sender), sender, len(DATA))
    assert sender.raised
    assert mark_before(sender.port) == 1


def test_what_came_below_the_mark_is_given_out_when_the_sender_stops(connect: Connect) -> None:
    sender = Sender(stop=True)
    fetch(connect(sender), sender, len(DATA))
    assert sender.raised
    assert sender.lowered


def test_mark_is_lowered_before_the_end(connect: Connect) -> None:
    """Lowered because the end is near, not recalled: else none would be raised soon after.

    A machine that is busy for long enough makes it a recall, hence several goes.
    """
    for _ in range(5):
        sender = Sender(hold=ENOUGH - 1)
        bench = connect(sender)
        fetch(bench, sender, len(DATA))
        assert sender.lowered
        fetch(bench, sender, len(DATA))
        if sender.raised:
            return
    pytest.fail("no mark was raised after an answer that ended in time")


def test_no_mark_is_raised_for_what_comes_slowly(connect: Connect) -> None:
    sender = Sender(pause=0.01)
    fetch(connect(sender), sender, 2 * MiB)
    assert not sender.raised


@pytest.mark.parametrize("size", [ENOUGH + MARK - 1, ENOUGH + MARK, ENOUGH + MARK + 1, PIECE])
def test_answers_of_every_size_end(connect: Connect, size: int) -> None:
    sender = Sender()
    bench = connect(sender)
    for _ in range(3):
        fetch(bench, sender, size)
    assert bench.server.connections == 1
    assert mark_before(sender.port) == 1


@pytest.mark.parametrize("short", [MARK, MARK + PIECE, MiB])
def test_answer_that_ends_early_leaves_no_mark_to_the_next(connect: Connect, short: int) -> None:
    sender = Sender(short=short)
    bench = connect(sender)
    lane = bench.lane()
    cut = bench.transfer(lane, 0, 4 * MiB, bytearray(4 * MiB))
    bench.fetcher.submit([cut])
    assert bench.fetcher.next_report() is cut
    assert cut.received == short
    assert mark_before(sender.port) == 1
    sender.short = 0
    fetch(bench, sender, PIECE)
    assert bench.server.connections == 1
    bench.fetcher.cancel(lane)
