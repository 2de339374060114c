"""s3reader with each of its readers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

from contenders.contender import Contender, SmallReader, fill


class Own(Contender):
    """What the readers have in common; a subclass says how one is made."""

    peer = "s3reader"

    def __init__(self, endpoint: str, bucket: str) -> None:
        import s3reader

        self._library = s3reader
        self._client = s3reader.S3Client("us-east-1", endpoint=endpoint)
        self._bucket = bucket

    def version(self) -> str:
        return str(self._library.__version__)

    def open(self, key: str, size: int) -> Any:
        """A reader of an object of ``size`` bytes."""
        raise NotImplementedError

    def readinto(self, key: str, view: memoryview) -> None:
        with self.open(key, len(view)) as reader:
            fill(reader.readinto, view)

    small = readinto

    def buffered(self, key: str, size: int) -> SmallReader:
        reader = self.open(key, size)
        reader.read(1)
        reader.seek(0)
        result: SmallReader = reader
        return result

    def close(self) -> None:
        self._client.close()


class Sequential(Own):
    name = "s3reader sequential"

    def open(self, key: str, size: int) -> Any:
        return self._client.get_object(self._bucket, key)

    def read(self, key: str) -> Any:
        with self.open(key, 0) as reader:
            return reader.read()

    def chunks(self, key: str) -> Iterator[Any]:
        # A constructor is any callable; this one takes the stream that a reader would be over.
        make: Any = lambda *, get_stream, **_: get_stream()  # noqa: E731
        stream: Any = self._client.get_object(self._bucket, key, reader_constructor=make)
        yield from stream

    def buffered(self, key: str, size: int) -> SmallReader:
        reader = self.open(key, size)
        reader.read()
        reader.seek(0)
        result: SmallReader = reader
        return result


class Ranged(Own):
    name = "s3reader ranged"
    cannot: ClassVar = {"chunks": "reads ranges; the stream is the sequential reader's"}

    def open(self, key: str, size: int) -> Any:
        constructor = self._library.S3ReaderConstructor.range_based()
        return self._client.get_object(self._bucket, key, reader_constructor=constructor)

    def read(self, key: str) -> Any:
        with self.open(key, 0) as reader:
            return reader.read()


class DCPOptimized(Own):
    name = "s3reader dcp_optimized"
    cannot: ClassVar = {
        "read": "refuses read() without a size, as its contract says",
        "chunks": "reads items; the stream is the sequential reader's",
    }

    def open(self, key: str, size: int) -> Any:
        items = [self._library.ItemRange(0, size)]
        constructor: Any = partial(self._library.DCPOptimizedS3Reader, item_ranges=items)
        return self._client.get_object(self._bucket, key, reader_constructor=constructor)
