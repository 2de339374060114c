"""What one writes without a library: pycurl with a callback, io's own buffered reader."""

from __future__ import annotations

import io
from typing import Any, ClassVar

from contenders.contender import Contender, SmallReader


class Pycurl(Contender):
    """One handle used again, one connection, unsigned."""

    name = "pycurl by hand"
    peer = "pycurl"
    cannot: ClassVar = {
        "chunks": "pushes into a callback",
        "buffered": "has no reader",
    }

    def __init__(self, endpoint: str, bucket: str) -> None:
        import pycurl

        self._library = pycurl
        self._easy = pycurl.Curl()
        self._easy.setopt(pycurl.BUFFERSIZE, 512 * 1024)
        self._url = f"{endpoint}/{bucket}/"

    def version(self) -> str:
        return str(self._library.version_info()[1])

    def _get(self, key: str, write: Any) -> None:
        self._easy.setopt(self._library.URL, self._url + key)
        self._easy.setopt(self._library.WRITEFUNCTION, write)
        self._easy.perform()

    def readinto(self, key: str, view: memoryview) -> None:
        position = 0

        def write(data: bytes) -> None:
            nonlocal position
            view[position : position + len(data)] = data
            position += len(data)

        self._get(key, write)

    small = readinto

    def read(self, key: str) -> Any:
        file = io.BytesIO()
        self._get(key, file.write)
        return file.getbuffer()

    def close(self) -> None:
        self._easy.close()


class BufferedBytes(Contender):
    """The yardstick of small reads: io.BufferedReader over BytesIO, both in C."""

    name = "io.BufferedReader over BytesIO"
    peer = "floor"

    def __init__(self, endpoint: str, bucket: str) -> None:
        self._url = f"{endpoint}/{bucket}/"

    def version(self) -> str:
        return ""

    def buffered(self, key: str, size: int) -> SmallReader:
        from urllib.request import urlopen

        with urlopen(self._url + key) as response:
            reader = io.BufferedReader(io.BytesIO(response.read()), size)
        reader.peek(1)
        return reader
