"""Scripts that serve an object and go wrong where a test says so."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

from .scripted import Reply, Request, object_script

PART = 4096  # bytes: the smallest part_size, so that a small object has several
ETAG = '"0123456789abcdef"'

Fault = Callable[[Request, Reply], Reply | None]


def pattern(size: int) -> bytes:
    """Bytes that differ from one position to the next and from one part to the next."""
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))[:size]


def cut(after: int, *, reset: bool = False) -> Fault:
    """Ends the connection after that many bytes of output, head included."""
    return lambda request, reply: dataclasses.replace(reply, cut_after=after, reset=reset)


def status(number: int, code: str = "", detail: str = "", **headers: str) -> Fault:
    """Answers with an error as S3 writes it; ``_`` in a header's name stands for ``-``."""
    text = f"<Error><Code>{code}</Code><Message>scripted</Message>{detail}</Error>" if code else ""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request, reply: Reply(number, named, text.encode())


def headers(**changed: str | None) -> Fault:
    """Sends other headers than the right ones; None leaves one out, ``_`` stands for ``-``."""

    def spoil(request: Request, reply: Reply) -> Reply:
        kept = dict(reply.headers)
        for name, value in changed.items():
            kept.pop(name.replace("_", "-"), None)
            if value is not None:
                kept[name.replace("_", "-")] = value
        return dataclasses.replace(reply, headers=kept)

    return spoil


class FaultyObject:
    """A script that serves ``data`` as S3 would, and does what is wrong as long as it is asked to.

    `fault` spoils replies. Where `times` is a number, only that many of those that match `where`,
    a function of the request; None spoils every one.
    """

    def __init__(self, data: bytes, etag: str = ETAG) -> None:
        self._right = object_script(data, etag)
        self._lock = threading.Lock()
        self.data = data
        self.fault: Fault | None = None
        self.times: int | None = None
        self.where: Callable[[Request], bool] = lambda request: True

    def go_wrong(
        self,
        fault: Fault | None,
        times: int | None = None,
        where: Callable[[Request], bool] = lambda request: True,
    ) -> None:
        """Spoil replies from now on; None for none of them."""
        with self._lock:
            self.fault, self.times, self.where = fault, times, where

    def replace(self, data: bytes, etag: str) -> None:
        """Overwrite the object."""
        with self._lock:
            self._right = object_script(data, etag)
            self.data = data

    def __call__(self, request: Request) -> Reply:
        with self._lock:
            reply, fault = self._right(request), self.fault
            if fault is None or self.times == 0 or not self.where(request):
                return reply
            if self.times is not None:
                self.times -= 1
        return fault(request, reply) or reply


def part(number: int) -> Callable[[Request], bool]:
    """Matches requests that begin in the part of that number."""

    def begins_there(request: Request) -> bool:
        asked = request.range
        return asked is not None and asked[0] // PART == number

    return begins_there
