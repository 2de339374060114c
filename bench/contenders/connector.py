"""s3torchconnector: its client with the readers that its README recommends for each purpose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from contenders.contender import Contender, SmallReader, fill

_PIECE = 8 * 1024 * 1024  # its own part size and default buffer size


class Connector(Contender):
    """What the readers have in common."""

    peer = "s3torchconnector"

    def __init__(self, endpoint: str, bucket: str) -> None:
        import s3torchconnector
        from s3torchconnector._s3client import S3Client

        self._library = s3torchconnector
        config = s3torchconnector.S3ClientConfig(force_path_style=True)
        self._client = S3Client("us-east-1", endpoint=endpoint, s3client_config=config)
        self._bucket = bucket

    def version(self) -> str:
        return str(self._library.__version__)

    def open(self, key: str, **options: int) -> Any:
        """A reader of an object."""
        raise NotImplementedError

    def readinto(self, key: str, view: memoryview) -> None:
        fill(self.open(key).readinto, view)

    small = readinto

    def read(self, key: str) -> Any:
        return self.open(key).read()


class ConnectorSequential(Connector):
    """Recommended for "optimal performance when reading entire objects"."""

    name = "s3torchconnector sequential"

    def open(self, key: str, **options: int) -> Any:
        constructor = self._library.S3ReaderConstructor.sequential()
        return self._client.get_object(self._bucket, key, reader_constructor=constructor)

    def chunks(self, key: str) -> Iterator[Any]:
        reader = self.open(key)
        while piece := reader.read(_PIECE):
            yield piece

    def buffered(self, key: str, size: int) -> SmallReader:
        reader = self.open(key)
        reader.read()
        reader.seek(0)
        result: SmallReader = reader
        return result


class ConnectorRanged(Connector):
    """Without its buffer where everything is read at once, "for direct transfer"."""

    name = "s3torchconnector ranged"

    def open(self, key: str, **options: int) -> Any:
        constructor = self._library.S3ReaderConstructor.range_based(
            **(options or {"buffer_size": 0})
        )
        return self._client.get_object(self._bucket, key, reader_constructor=constructor)

    def chunks(self, key: str) -> Iterator[Any]:
        reader = self.open(key)
        while piece := reader.read(_PIECE):
            yield piece

    def buffered(self, key: str, size: int) -> SmallReader:
        reader = self.open(key, buffer_size=size)
        reader.read(1)
        reader.seek(0)
        result: SmallReader = reader
        return result
