"""s3reader: its client, and each of its readers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from contenders.contender import Contender, Place, ReadAt, SmallReader, fill


class Own(Contender):
    """What the contenders have in common."""

    peer = "s3reader"
    module = "s3reader"

    def __init__(self, place: Place, **settings: Any) -> None:
        import s3reader

        super().__init__(place)
        self.package = s3reader
        self.client = s3reader.S3Client(
            "us-east-1",
            endpoint=place.endpoint,
            s3client_config=s3reader.S3ClientConfig(ca_bundle=place.authority, **settings),
        )

    def version(self) -> str:
        return str(self.package.__version__)

    def close(self) -> None:
        self.client.close()

    def warm(self, key: str, view: memoryview) -> None:
        with self.client.get_object(self.place.bucket, key) as reader:
            fill(reader.readinto, view)


class Client(Own):
    """What the client does itself."""

    name = "s3reader"

    def many(self, keys: Sequence[str], rows: Any) -> Any:
        read_many(self.client, self.place.bucket, keys, rows)

    def dataset(self, keys: Sequence[str], size: int) -> tuple[Any, Any]:
        from contenders.own_dataset import Objects

        return Objects(self.client, self.place.bucket, keys, size), _itself

    def cold(self, key: str) -> None:
        with self.client.get_object(self.place.bucket, key) as reader:
            reader.read(1)


def read_many(client: Any, bucket: str, keys: Sequence[str], rows: Any) -> None:
    """`S3Client.read_many` into the rows of an array; each object is looked at once."""
    for row in client.read_many(bucket, keys, into=rows):
        assert row.error is None


def _itself(batch: Any) -> Any:
    return batch


class Reader(Own):
    """A reader; a subclass says how it is made."""

    @abstractmethod
    def open(self, key: str, size: int) -> Any:
        """A reader of an object of ``size`` bytes."""

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


class Sequential(Reader):
    name = "s3reader sequential"

    def open(self, key: str, size: int) -> Any:
        return self.client.get_object(self.place.bucket, key)

    def read(self, key: str) -> Any:
        with self.open(key, 0) as reader:
            return reader.read()

    def chunks(self, key: str) -> Iterator[Any]:
        # A constructor is any callable; this one takes the stream that a reader would be over.
        make: Any = lambda *, get_stream, **_: get_stream()  # noqa: E731
        stream: Any = self.client.get_object(self.place.bucket, key, reader_constructor=make)
        yield from stream

    def file(self, key: str) -> AbstractContextManager[Any]:
        reader: AbstractContextManager[Any] = self.open(key, 0)
        return reader

    def buffered(self, key: str, size: int) -> SmallReader:
        reader = self.open(key, size)
        reader.read()
        reader.seek(0)
        result: SmallReader = reader
        return result


class Ranged(Reader):
    name = "s3reader ranged"

    def open(self, key: str, size: int, **options: Any) -> Any:
        constructor = self.package.S3ReaderConstructor.range_based(**options)
        return self.client.get_object(self.place.bucket, key, reader_constructor=constructor)

    def read(self, key: str) -> Any:
        with self.open(key, 0) as reader:
            return reader.read()

    def file(self, key: str) -> AbstractContextManager[Any]:
        reader: AbstractContextManager[Any] = self.open(key, 0)
        return reader

    def pread(self, key: str) -> ReadAt:
        # Without its buffer, which pays for reads that lie close together.
        reader = self.open(key, 0, buffer_size=0)

        def read_at(start: int, view: memoryview) -> None:
            reader.seek(start)
            fill(reader.readinto, view)

        return read_at

    def ranges(self, key: str, starts: Sequence[int], views: Sequence[memoryview]) -> Any:
        with self.open(key, 0) as reader:
            reader.readinto_ranges(list(zip(starts, views, strict=True)))


class DCPOptimized(Reader):
    name = "s3reader dcp_optimized"
    quick = False

    def open(self, key: str, size: int) -> Any:
        items = [self.package.ItemRange(0, size)]
        constructor: Any = partial(self.package.DCPOptimizedS3Reader, item_ranges=items)
        return self.client.get_object(self.place.bucket, key, reader_constructor=constructor)
