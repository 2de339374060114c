"""obstore: a store's ranges at once, in threads and in asyncio, as its documentation shows."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from contenders.contender import (
    AT_ONCE,
    PART,
    Contender,
    Place,
    ReadAt,
    Threads,
    parts_of,
    pem,
)


class Obstore(Contender):
    """What both have in common."""

    peer = "obstore"
    module = "obstore"

    def __init__(self, place: Place) -> None:
        import obstore
        from obstore.store import S3Store

        super().__init__(place)
        self._library = obstore
        options: Any = {"allow_http": True}
        if place.authority:
            options["root_certificate"] = pem(place.authority)
        self._store: Any = S3Store(
            place.bucket,
            endpoint=place.endpoint,
            region="us-east-1",
            virtual_hosted_style_request=False,
            client_options=options,
        )

    def version(self) -> str:
        from importlib.metadata import version

        return version("obstore")

    def small(self, key: str, view: memoryview) -> None:
        view[:] = memoryview(self._store.get(key).bytes())


class _File(io.RawIOBase):
    """Its reader for those who want `bytes`: it gives a type of its own, which they refuse."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        position: int = self._reader.seek(offset, whence)
        return position

    def tell(self) -> int:
        position: int = self._reader.tell()
        return position

    def read(self, size: int | None = -1, /) -> bytes:
        return bytes(self._reader.read(None if size is None or size < 0 else size))

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._reader.read(len(view))
        view[: len(data)] = memoryview(data)
        return len(data)


class ObstoreSync(Obstore):
    name = "obstore, 16 threads"
    cannot: ClassVar = {
        "buffered": "its reader's buffer is of its own size",
        "dataset": "has no dataset",
    }

    def readinto(self, key: str, view: memoryview) -> None:
        threads = Threads()
        starts, pieces = zip(*parts_of(view), strict=True)
        try:
            threads.map(self.pread_copying(key), starts, pieces)
        finally:
            threads.close()

    def pread_copying(self, key: str) -> ReadAt:
        """Reads a piece and copies it to its place."""

        def read_at(start: int, view: memoryview) -> None:
            view[:] = memoryview(self._store.get_range(key, start=start, length=len(view)))

        return read_at

    def read(self, key: str) -> Any:
        return self._store.get(key).bytes()

    def chunks(self, key: str) -> Iterator[Any]:
        yield from self._store.get(key).stream(min_chunk_size=PART)

    def file(self, key: str) -> AbstractContextManager[Any]:
        return _File(self._library.open_reader(self._store, key, buffer_size=PART))

    def pread(self, key: str) -> ReadAt:
        def read_at(start: int, view: memoryview) -> Any:
            return self._store.get_range(key, start=start, length=len(view))

        return read_at

    def ranges(self, key: str, starts: Sequence[int], views: Sequence[memoryview]) -> Any:
        lengths = [len(view) for view in views]
        return self._store.get_ranges(key, starts=list(starts), lengths=lengths)

    def many(self, keys: Sequence[str], rows: Any) -> Any:
        threads = Threads()
        try:
            return threads.map(lambda key: self._store.get(key).bytes(), keys)
        finally:
            threads.close()

    def cold(self, key: str) -> None:
        self._store.get_range(key, start=0, length=1)


class ObstoreAsync(Obstore):
    name = "obstore async, 16 at once"
    quick = False
    cannot: ClassVar = {
        "read": "see the threads: one GET either way",
        "chunks": "see the threads: one GET either way",
        "buffered": "its reader's buffer is of its own size",
        "file": "an asynchronous file is none for torch or numpy",
        "dataset": "has no dataset",
        "pread": "one at a time: see the threads",
        "cold": "see the threads",
    }

    def readinto(self, key: str, view: memoryview) -> None:
        async def part(start: int, piece: memoryview) -> None:
            data = await self._store.get_range_async(key, start=start, length=len(piece))
            piece[:] = memoryview(data)

        _gather([lambda s=s, p=p: part(s, p) for s, p in parts_of(view)])  # type: ignore[misc]

    def ranges(self, key: str, starts: Sequence[int], views: Sequence[memoryview]) -> Any:
        lengths = [len(view) for view in views]

        async def ranges() -> Any:
            return await self._store.get_ranges_async(key, starts=list(starts), lengths=lengths)

        return asyncio.run(ranges())

    def many(self, keys: Sequence[str], rows: Any) -> Any:
        async def one(key: str) -> Any:
            return await (await self._store.get_async(key)).bytes_async()

        return _gather([lambda key=key: one(key) for key in keys])  # type: ignore[misc]


def _gather(makers: Sequence[Callable[[], Coroutine[Any, Any, Any]]]) -> list[Any]:
    """Results in order, of so many at once."""

    async def all_of_them() -> list[Any]:
        semaphore = asyncio.Semaphore(AT_ONCE)

        async def bounded(make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
            async with semaphore:
                return await make()

        return await asyncio.gather(*map(bounded, makers))

    return asyncio.run(all_of_them())
