"""s3torchconnector: its client with the readers that its README recommends for each purpose."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

from contenders.contender import (
    PART,
    Contender,
    Place,
    ReadAt,
    SmallReader,
    Threads,
    fill,
)

_NO_AUTHORITY = "takes no certificate authority of one's own"


class Connector(Contender):
    """What the readers have in common."""

    peer = "s3torchconnector"
    module = "s3torchconnector"

    def __init__(self, place: Place) -> None:
        import s3torchconnector
        from s3torchconnector._s3client import S3Client

        super().__init__(place)
        self._library = s3torchconnector
        self._config = s3torchconnector.S3ClientConfig(force_path_style=True)
        self._client = S3Client("us-east-1", endpoint=place.endpoint, s3client_config=self._config)

    def version(self) -> str:
        return str(self._library.__version__)

    @abstractmethod
    def open(self, key: str, **options: int) -> Any:
        """A reader of an object."""

    def readinto(self, key: str, view: memoryview) -> None:
        fill(self.open(key).readinto, view)

    small = readinto

    def read(self, key: str) -> Any:
        return self.open(key).read()

    def file(self, key: str) -> AbstractContextManager[Any]:
        return nullcontext(self.open(key))

    def chunks(self, key: str) -> Iterator[Any]:
        reader = self.open(key)
        while piece := reader.read(PART):
            yield piece


class ConnectorSequential(Connector):
    """Recommended for "optimal performance when reading entire objects"."""

    name = "s3torchconnector sequential"
    cannot: ClassVar = {
        "tls": _NO_AUTHORITY,
        "pread": "reads from the beginning to the end, and keeps all of it",
        "ranges": "has no vectored read",
    }

    def open(self, key: str, **options: int) -> Any:
        constructor = self._library.S3ReaderConstructor.sequential()
        return self._client.get_object(self.place.bucket, key, reader_constructor=constructor)

    def buffered(self, key: str, size: int) -> SmallReader:
        reader = self.open(key)
        reader.read()
        reader.seek(0)
        result: SmallReader = reader
        return result

    def many(self, keys: Sequence[str], rows: Any) -> Any:
        threads = Threads()
        try:
            return threads.map(self.read, keys)
        finally:
            threads.close()

    def dataset(self, keys: Sequence[str], size: int) -> tuple[Any, Any]:
        import torch

        uris = [f"s3://{self.place.bucket}/{key}" for key in keys]
        dataset = self._library.S3MapDataset.from_objects(
            uris,
            region="us-east-1",
            endpoint=self.place.endpoint,
            transform=_as_tensor,
            s3client_config=self._config,
        )
        return dataset, torch.utils.data.default_collate

    def cold(self, key: str) -> None:
        self.open(key).read(1)


def _as_tensor(reader: Any) -> Any:
    import torch

    return torch.frombuffer(bytearray(reader.read()), dtype=torch.uint8)


class ConnectorRanged(Connector):
    """Without its buffer where everything is read at once, "for direct transfer"."""

    name = "s3torchconnector ranged"
    quick = False
    cannot: ClassVar = {
        "tls": _NO_AUTHORITY,
        "ranges": "has no vectored read",
        "many": "see the sequential reader, which its README recommends for whole objects",
        "dataset": "see the sequential reader, which the dataset uses by default",
        "cold": "see the sequential reader",
    }

    def open(self, key: str, **options: int) -> Any:
        constructor = self._library.S3ReaderConstructor.range_based(
            **(options or {"buffer_size": 0})
        )
        return self._client.get_object(self.place.bucket, key, reader_constructor=constructor)

    def file(self, key: str) -> AbstractContextManager[Any]:
        # Formats are read in small pieces, which want the buffer.
        return nullcontext(self.open(key, buffer_size=PART))

    def pread(self, key: str) -> ReadAt:
        reader = self.open(key)

        def read_at(start: int, view: memoryview) -> None:
            reader.seek(start)
            fill(reader.readinto, view)

        return read_at

    def buffered(self, key: str, size: int) -> SmallReader:
        reader = self.open(key, buffer_size=size)
        reader.read(1)
        reader.seek(0)
        result: SmallReader = reader
        return result
