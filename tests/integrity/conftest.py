"""Clients of objects that tell their checksums; every algorithm can be computed."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from checksum_twins import ChecksummedObject, crc
from servers.faults import PART
from servers.scripted import ScriptedServer

from s3reader import S3Client, S3ClientConfig, checksums, integrity

KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG"}


@pytest.fixture
def every_algorithm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no package computes a CRC, its plain twin does."""
    installed = checksums.crc_function

    def found(name: str) -> Callable[..., int]:
        return installed(name) or functools.partial(crc, name)

    monkeypatch.setattr(checksums, "crc_function", found)
    monkeypatch.setattr(integrity, "crc_function", found)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once."""
    monkeypatch.setattr("s3reader.judge.random.random", lambda: 0.0)


@pytest.fixture
def switch_threads_often() -> Iterator[None]:
    """Threads take turns after microseconds, so that what can interleave does."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def new_config() -> Callable[..., S3ClientConfig]:
    """Makes the settings of a client of small parts."""

    def make(**settings: Any) -> S3ClientConfig:
        return S3ClientConfig(
            **{"part_size": PART, "credentials": KEYS, "max_connections": 4, **settings}
        )

    return make


@pytest.fixture
def serve(
    scripted: Callable[..., ScriptedServer],
    new_config: Callable[..., S3ClientConfig],
    every_algorithm: None,
    impatient: None,
) -> Iterator[Callable[..., tuple[S3Client, ScriptedServer]]]:
    """Serves an object and gives a client for it, with the server."""
    clients: list[S3Client] = []

    def start(script: ChecksummedObject, **settings: Any) -> tuple[S3Client, ScriptedServer]:
        server = scripted(script)
        config = new_config(**settings)
        client = S3Client("us-east-1", endpoint=server.endpoint, s3client_config=config)
        clients.append(client)
        return client, server

    yield start
    for client in clients:
        client.close()
