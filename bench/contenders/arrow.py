"""pyarrow: `S3FileSystem` with random access files, whose `read_at` threads may share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar
from urllib.parse import urlsplit

from contenders.contender import PART, Contender, Place, ReadAt, Threads, fill, parts_of


class Filesystem(Contender):
    """What both have in common."""

    peer = "pyarrow"
    module = "pyarrow.fs"

    def __init__(self, place: Place) -> None:
        import pyarrow
        from pyarrow.fs import S3FileSystem

        super().__init__(place)
        self._library = pyarrow
        url = urlsplit(place.endpoint)
        options: dict[str, Any] = {}
        if place.authority:
            options["tls_ca_file_path"] = place.authority
        self._files: Any = S3FileSystem(
            region="us-east-1", scheme=url.scheme, endpoint_override=url.netloc, **options
        )

    def version(self) -> str:
        return str(self._library.__version__)

    def _open(self, key: str) -> Any:
        return self._files.open_input_file(f"{self.place.bucket}/{key}")


class Arrow(Filesystem):
    name = "pyarrow S3FileSystem"
    cannot: ClassVar = {"dataset": "has no dataset of plain objects"}

    def readinto(self, key: str, view: memoryview) -> None:
        with self._open(key) as file:
            fill(file.readinto, view)

    small = readinto

    def read(self, key: str) -> Any:
        with self._open(key) as file:
            return file.read_buffer()

    def chunks(self, key: str) -> Iterator[Any]:
        with self._files.open_input_stream(f"{self.place.bucket}/{key}") as stream:
            while len(piece := stream.read_buffer(PART)):
                yield piece

    def file(self, key: str) -> AbstractContextManager[Any]:
        file: AbstractContextManager[Any] = self._open(key)
        return file

    def pread(self, key: str) -> ReadAt:
        file = self._open(key)

        def read_at(start: int, view: memoryview) -> Any:
            return file.read_at(len(view), start)

        return read_at

    def ranges(self, key: str, starts: Sequence[int], views: Sequence[memoryview]) -> Any:
        threads = Threads()
        try:
            return threads.map(self.pread(key), starts, views)
        finally:
            threads.close()

    def many(self, keys: Sequence[str], rows: Any) -> Any:
        threads = Threads()
        try:
            return threads.map(self.read, keys)
        finally:
            threads.close()

    def buffered(self, key: str, size: int) -> Any:
        stream = self._files.open_input_stream(f"{self.place.bucket}/{key}", buffer_size=size)
        stream.read(0)
        return stream

    def cold(self, key: str) -> None:
        with self._open(key) as file:
            file.read(1)


class ArrowParallel(Filesystem):
    """Parts in threads: its file gives one connection's bytes otherwise."""

    name = "pyarrow read_at, 16 threads"
    quick = False
    cannot: ClassVar = dict.fromkeys(
        "read chunks file small buffered pread ranges many cold".split(), "see S3FileSystem"
    ) | {"dataset": "has no dataset of plain objects"}

    def warm(self, key: str, view: memoryview) -> None:
        with self._open(key) as file:
            fill(file.readinto, view)

    def readinto(self, key: str, view: memoryview) -> None:
        threads = Threads()
        starts, pieces = zip(*parts_of(view), strict=True)
        with self._open(key) as file:

            def part(start: int, piece: memoryview) -> None:
                piece[:] = file.read_at(len(piece), start)

            try:
                threads.map(part, starts, pieces)
            finally:
                threads.close()
