"""Clients that give up soon, and servers with a fault proxy in front of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from servers.fault_proxy import FaultProxy

from s3reader import S3Client, S3ClientConfig

PART = 4096  # bytes: the smallest part_size, so that a small object has several

SETTINGS: dict[str, Any] = {
    "part_size": PART,
    "max_attempts": 3,
    "connect_timeout": 2.0,
    "first_byte_timeout": 0.3,
    "stall_timeout": 0.3,
    "retry_timeout": 1.5,
    "max_connections": 4,
    "credentials": {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG"},
}
STEP_LIMIT = 15.0
"""Seconds that one call may take: `retry_timeout` and a few timeouts, on a machine that is busy."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once: delays are the policy's, which has tests of its own."""
    monkeypatch.setattr("s3reader.judge.random.random", lambda: 0.0)


@pytest.fixture
def new_client() -> Iterator[Callable[..., S3Client]]:
    """Makes a client for an endpoint; keyword arguments go to ``S3ClientConfig``."""
    clients: list[S3Client] = []

    def make(endpoint: str, **settings: Any) -> S3Client:
        config = S3ClientConfig(**{**SETTINGS, **settings})
        clients.append(S3Client("us-east-1", endpoint=endpoint, s3client_config=config))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def new_proxy() -> Iterator[Callable[[int], FaultProxy]]:
    """Puts a fault proxy in front of a local port."""
    proxies: list[FaultProxy] = []

    def make(port: int) -> FaultProxy:
        proxies.append(FaultProxy(port))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()
