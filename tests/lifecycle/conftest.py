"""Fixtures of the tests of a process's life: clients, and interpreters of their own."""

from __future__ import annotations

from clients import client_for, hides_secrets
from interpreters import run_python, start_python

__all__ = ["client_for", "hides_secrets", "run_python", "start_python"]
