"""What one writes without a library: pycurl with a callback; files, and io's buffered reader."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from contenders.contender import AT_ONCE, Contender, Place, ReadAt, SmallReader, views_of


class Pycurl(Contender):
    """One handle used again, one connection, unsigned; a multi handle for many at once."""

    name = "pycurl by hand"
    peer = "pycurl"
    module = "pycurl"
    cannot: ClassVar = {
        "chunks": "pushes into a callback",
        "buffered": "has no reader",
        "file": "has no file",
        "dataset": "has no dataset",
    }

    def __init__(self, place: Place) -> None:
        import pycurl

        super().__init__(place)
        self._library = pycurl
        self._easy = self._make(512 * 1024)

    def _make(self, buffer: int) -> Any:
        easy = self._library.Curl()
        easy.setopt(self._library.BUFFERSIZE, buffer)
        easy.setopt(self._library.NOSIGNAL, 1)
        if self.place.authority:
            easy.setopt(self._library.CAINFO, self.place.authority)
        return easy

    def version(self) -> str:
        return str(self._library.version.split()[0].partition("/")[2])

    def _get(self, key: str, write: Any) -> None:
        self._easy.setopt(self._library.URL, self.place.url(key))
        self._easy.setopt(self._library.WRITEFUNCTION, write)
        self._easy.perform()

    def readinto(self, key: str, view: memoryview) -> None:
        self._get(key, _writer(view))

    small = readinto

    def read(self, key: str) -> Any:
        file = io.BytesIO()
        self._get(key, file.write)
        return file.getbuffer()

    def pread(self, key: str) -> ReadAt:
        easy = self._make(64 * 1024)
        easy.setopt(self._library.URL, self.place.url(key))

        def read_at(start: int, view: memoryview) -> None:
            easy.setopt(self._library.RANGE, f"{start}-{start + len(view) - 1}")
            easy.setopt(self._library.WRITEFUNCTION, _writer(view))
            easy.perform()

        return read_at

    def ranges(self, key: str, starts: Sequence[int], views: Sequence[memoryview]) -> Any:
        url = self.place.url(key)

        def prepare(start: int, view: memoryview) -> Callable[[Any], None]:
            def on(easy: Any) -> None:
                easy.setopt(self._library.URL, url)
                easy.setopt(self._library.RANGE, f"{start}-{start + len(view) - 1}")
                easy.setopt(self._library.WRITEFUNCTION, _writer(view))

            return on

        self._at_once(map(prepare, starts, views))

    def many(self, keys: Sequence[str], rows: Any) -> Any:
        def prepare(key: str, view: memoryview) -> Callable[[Any], None]:
            def on(easy: Any) -> None:
                easy.setopt(self._library.URL, self.place.url(key))
                easy.setopt(self._library.WRITEFUNCTION, _writer(view))

            return on

        self._at_once(map(prepare, keys, views_of(rows)))

    def _at_once(self, prepared: Iterable[Callable[[Any], None]]) -> None:
        multi = self._library.CurlMulti()
        idle = [self._make(64 * 1024) for _ in range(AT_ONCE)]
        waiting = iter(prepared)
        running = 0
        while True:
            for prepare in waiting if idle else ():
                easy = idle.pop()
                prepare(easy)
                multi.add_handle(easy)
                running += 1
                if not idle:
                    break
            if not running:
                return
            while multi.perform()[0] == self._library.E_CALL_MULTI_PERFORM:
                pass
            left = 1
            while left:
                left, done, failed = multi.info_read()
                if failed:
                    raise OSError(failed[0][2])
                for easy in done:
                    multi.remove_handle(easy)
                    idle.append(easy)
                    running -= 1
            if running:
                multi.select(1.0)

    def cold(self, key: str) -> None:
        first = bytearray()
        self._easy.setopt(self._library.RANGE, "0-0")
        self._get(key, first.extend)
        assert len(first) == 1

    def close(self) -> None:
        self._easy.close()


def _writer(view: memoryview) -> Callable[[bytes], None]:
    position = 0

    def write(data: bytes) -> None:
        nonlocal position
        view[position : position + len(data)] = data
        position += len(data)

    return write


class BufferedBytes(Contender):
    """The yardstick of small reads: io.BufferedReader over BytesIO, both in C."""

    name = "io.BufferedReader over BytesIO"
    peer = "floor"

    def version(self) -> str:
        return ""

    def buffered(self, key: str, size: int) -> SmallReader:
        with open(self.place.path(key), "rb") as file:
            reader = io.BufferedReader(io.BytesIO(file.read()), size)
        reader.peek(1)
        return reader


class LocalFile(Contender):
    """The yardstick of loading: the same file, in the page cache."""

    name = "local file in the page cache"
    peer = "floor"

    def version(self) -> str:
        return ""

    def file(self, key: str) -> AbstractContextManager[Any]:
        return open(self.place.path(key), "rb")
