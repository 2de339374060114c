"""Fixtures of the security tests: clients that hold secrets, and a trap nobody should step on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clients import client_for, hides_secrets
from interpreters import run_python, start_python
from servers.scripted import Reply, ScriptedServer

__all__ = ["client_for", "hides_secrets", "run_python", "start_python", "trap"]


@pytest.fixture
def trap() -> Iterator[ScriptedServer]:
    """Another host, which at the test's end must not have been connected to."""
    with ScriptedServer([Reply(418)]) as server:
        yield server
        assert server.connections == 0
