"""The record of requests: kept by the server's process, asked for by the test's.

Imports nothing but the standard library, so that neither side drags in what the other needs.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

RECORD_PATH = "/_record"
FIXTURE_AGENT = "s3reader-fixture"  # in the User-Agent of requests that are not to be recorded


class Record:
    """Every request in order of arrival of its response head. Guarded by its lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[dict[str, Any]] = []

    def add(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self._entries.append(entry)

    def take(self) -> list[dict[str, Any]]:
        with self._lock:
            return list(self._entries)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()


@dataclass(frozen=True)
class RecordedRequest:
    """One request as the server saw it, and what it answered.

    `path` is percent-encoded as sent; `range` and `if_match` are header values or None; `length`
    is the response's Content-Length in bytes; `connection` is the client's port, which tells
    connections apart.
    """

    method: str
    path: str
    query: str
    range: str | None
    if_match: str | None
    signed: bool
    user_agent: str
    headers: Mapping[str, str]
    status: int
    length: int
    connection: int

    @property
    def operation(self) -> str:
        """S3's name for it, of those the library uses, else the method."""
        if self.method == "HEAD":
            return "HeadObject"
        if self.method == "GET":
            return "ListObjectsV2" if "list-type=2" in self.query else "GetObject"
        return self.method

    @property
    def key(self) -> str:
        """The object's key, of a path-style request."""
        return unquote(self.path).removeprefix("/").partition("/")[2]
