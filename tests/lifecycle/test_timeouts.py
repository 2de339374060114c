"""Each timeout ends what it is for, in its time, in an error with its name."""

from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from servers.faults import FaultyObject, pattern
from servers.scripted import Reply, ScriptedServer

from s3reader import S3Client, S3ClientConfig, S3Exception, S3ReaderConstructor, S3TimeoutError

Scripted = Callable[..., ScriptedServer]
ClientFor = Callable[..., S3Client]

DATA = pattern(50_000)
LIMIT = 0.4  # seconds of the timeout under test
LATE = 1.5  # seconds after which it is too late: sweeps are a tenth apart, the machine is shared

ASKS: dict[str, Callable[[S3Client], Any]] = {
    "sequential": lambda client: client.get_object("bucket", "key").read(),
    "ranged": lambda client: client.get_object(
        "bucket", "key", reader_constructor=S3ReaderConstructor.range_based()
    ).readinto(bytearray(len(DATA))),
    "head": lambda client: client.head_object("bucket", "key"),
    "list": lambda client: next(client.list_objects("bucket")),
}
GETS = {name: ASKS[name] for name in ("sequential", "ranged")}


def ends_in_time(ask: Callable[[], Any], limit: float = LIMIT) -> S3Exception:
    began = time.monotonic()
    with pytest.raises(S3Exception) as caught:
        ask()
    assert limit * 0.9 < time.monotonic() - began < limit + LATE
    return caught.value


@pytest.fixture
def full_port() -> Iterator[str]:
    """An endpoint whose queue of connections is full: the system answers no further one."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for each in waiting:
            each.close()


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS.keys())
def test_connect_timeout(full_port: str, client_for: ClientFor, ask: Any) -> None:
    client = client_for(full_port, connect_timeout=LIMIT, max_attempts=1)
    error = ends_in_time(lambda: ask(client))
    assert isinstance(error, S3TimeoutError)
    assert "connect_timeout" in str(error)


def test_connect_timeout_holds_for_a_handshake_that_never_ends(client_for: ClientFor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"https://127.0.0.1:{listener.getsockname()[1]}"
        client = client_for(endpoint, connect_timeout=LIMIT, max_attempts=1)
        ends_in_time(lambda: client.head_object("bucket", "key"))


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS.keys())
def test_first_byte_timeout(scripted: Scripted, client_for: ClientFor, ask: Any) -> None:
    client = client_for(
        scripted([Reply(silent=True)]).endpoint, first_byte_timeout=LIMIT, max_attempts=1
    )
    error = ends_in_time(lambda: ask(client))
    assert isinstance(error, S3TimeoutError)
    assert "first_byte_timeout" in str(error)


@pytest.mark.parametrize("ask", GETS.values(), ids=GETS.keys())
def test_stall_timeout(scripted: Scripted, client_for: ClientFor, ask: Any) -> None:
    faulty = FaultyObject(DATA)
    server = scripted(faulty)
    faulty.go_wrong(lambda request, reply: dataclasses.replace(reply, delay_at=500, pause=60))
    client = client_for(server.endpoint, stall_timeout=LIMIT, max_attempts=1)
    error = ends_in_time(lambda: ask(client))
    assert isinstance(error, S3TimeoutError)
    assert "stall_timeout" in str(error)


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS.keys())
def test_retry_timeout(scripted: Scripted, client_for: ClientFor, ask: Any) -> None:
    """The whole of it: however many attempts there may be, and each in time."""
    server = scripted([Reply(500)])
    client = client_for(server.endpoint, retry_timeout=LIMIT, max_attempts=1_000_000)
    began = time.monotonic()
    with pytest.raises(S3Exception, match="HTTP 500"):
        ask(client)
    assert time.monotonic() - began < LIMIT + LATE
    assert len(server.requests) < 100


def test_timeouts_are_on_by_default() -> None:
    config = S3ClientConfig()
    for name in ("connect_timeout", "first_byte_timeout", "stall_timeout", "retry_timeout"):
        assert 0 < getattr(config, name) <= 300


@pytest.mark.parametrize("ask", GETS.values(), ids=GETS.keys())
@pytest.mark.parametrize(
    "fault",
    [
        lambda request, reply: Reply(silent=True),
        lambda request, reply: dataclasses.replace(reply, delay_at=500, pause=60),
        lambda request, reply: Reply(503),
    ],
    ids=["silent", "stalled", "refused"],
)
def test_client_goes_on_after_a_timeout(
    scripted: Scripted, client_for: ClientFor, fault: Any, ask: Any
) -> None:
    faulty = FaultyObject(DATA)
    client = client_for(
        scripted(faulty).endpoint,
        first_byte_timeout=LIMIT,
        stall_timeout=LIMIT,
        retry_timeout=LIMIT,
        max_attempts=1,
    )
    reader = client.get_object("bucket", "key")
    faulty.go_wrong(fault)
    with pytest.raises(S3Exception):
        reader.read()
    with pytest.raises(S3Exception):
        ask(client)
    faulty.go_wrong(None)
    assert reader.tell() == 0
    assert reader.read() == DATA
    assert ask(client) in (DATA, len(DATA))
