"""Fixtures of the core's tests: a scripted object, and sessions and sources that read it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from interpreters import run_python, start_python
from servers.faults import PART
from servers.scripted import Script, ScriptedServer
from transfers import Bench

from s3reader import S3ClientConfig
from s3reader.session import Session
from s3reader.source import ObjectSource
from s3reader.stream import GetObjectStream

__all__ = ["run_python", "start_python"]

KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG"}

SETTINGS: dict[str, Any] = {
    "part_size": PART,
    "max_attempts": 3,
    "connect_timeout": 5.0,
    "first_byte_timeout": 5.0,
    "stall_timeout": 5.0,
    "retry_timeout": 20.0,
    "max_connections": 4,
    "credentials": KEYS,
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once: delays are the policy's, which has tests of its own."""
    monkeypatch.setattr("s3reader.judge.random.random", lambda: 0.0)


@pytest.fixture
def new_session() -> Iterator[Callable[..., Session]]:
    """Makes a session for an endpoint; keyword arguments go to ``S3ClientConfig``."""
    sessions: list[Session] = []

    def make(endpoint: str, region: str = "us-east-1", **settings: Any) -> Session:
        config = S3ClientConfig(**{**SETTINGS, **settings})
        sessions.append(Session(region, endpoint, "s3reader-test", config))
        return sessions[-1]

    yield make
    for session in sessions:
        session.close()


@pytest.fixture
def open_source(
    scripted: Callable[..., ScriptedServer], new_session: Callable[..., Session]
) -> Callable[..., tuple[ObjectSource, ScriptedServer]]:
    """Serves a script and gives a source that reads it, with the server."""

    def start(script: Script, **settings: Any) -> tuple[ObjectSource, ScriptedServer]:
        server = scripted(script)
        return ObjectSource(new_session(server.endpoint, **settings), "bucket", "key"), server

    return start


def _by_chunks(stream: GetObjectStream, size: int) -> bytes:
    return b"".join(bytes(view) for view in stream)


def _by_readinto(stream: GetObjectStream, size: int) -> bytes:
    buffer = bytearray(size + 10)  # more than there is
    return bytes(buffer[: stream.readinto(buffer)])


@pytest.fixture(params=[_by_chunks, _by_readinto], ids=["chunks", "readinto"])
def read(request: pytest.FixtureRequest) -> Callable[[GetObjectStream, int], bytes]:
    """Both ways out of a stream: all that is left of it, at most ``size`` bytes."""
    way: Callable[[GetObjectStream, int], bytes] = request.param
    return way


@pytest.fixture
def bench(scripted: Callable[..., ScriptedServer]) -> Iterator[Callable[..., Bench]]:
    """Makes a `Bench` for a script."""
    made: list[Bench] = []

    def make(script: Any, connections: int = 2) -> Bench:
        made.append(Bench(scripted(script), connections))
        return made[-1]

    yield make
    for each in made:
        each.fetcher.close()


@pytest.fixture
def in_thread() -> Iterator[Callable[[Callable[[], Any]], Callable[[], Any]]]:
    """Calls a function on another thread; what it gives back waits for the result or raises."""
    threads: list[threading.Thread] = []

    def start(function: Callable[[], Any]) -> Callable[[], Any]:
        outcome: list[Any] = []

        def run() -> None:
            try:
                outcome.extend((function(), None))
            except BaseException as error:
                outcome.extend((None, error))

        thread = threading.Thread(target=run)
        threads.append(thread)
        thread.start()

        def result() -> Any:
            thread.join(20)
            assert not thread.is_alive(), "still running after 20 s"
            if outcome[1] is not None:
                raise outcome[1]
            return outcome[0]

        return result

    yield start
    for thread in threads:
        thread.join(20)
