"""boto3: a GET's body, and the transfer manager that its documentation recommends for speed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, ClassVar

from contenders.contender import Contender, fill

_PIECE = 1024 * 1024  # large enough that the Python around it does not count


class _Into(io.RawIOBase):
    """A seekable file over the destination, for `download_fileobj`."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._position = 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        assert whence == io.SEEK_SET
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position

    def write(self, data: Any, /) -> int:
        end = self._position + len(data)
        self._view[self._position : end] = data
        self._position = end
        return len(data)


class Boto(Contender):
    peer = "boto3"

    def __init__(self, endpoint: str, bucket: str) -> None:
        import boto3
        from botocore.config import Config

        self._library = boto3
        self._client: Any = boto3.client(
            "s3",
            region_name="us-east-1",
            endpoint_url=endpoint,
            config=Config(s3={"addressing_style": "path"}),
        )
        self._bucket = bucket

    def version(self) -> str:
        return str(self._library.__version__)

    def _body(self, key: str) -> Any:
        return self._client.get_object(Bucket=self._bucket, Key=key)["Body"]

    def close(self) -> None:
        self._client.close()


class BotoBody(Boto):
    name = "boto3 get_object"
    cannot: ClassVar = {"buffered": "has no buffer: io.BufferedReader around it is the floor"}

    def readinto(self, key: str, view: memoryview) -> None:
        fill(self._body(key).readinto, view)

    small = readinto

    def read(self, key: str) -> Any:
        return self._body(key).read()

    def chunks(self, key: str) -> Iterator[Any]:
        yield from self._body(key).iter_chunks(_PIECE)


class BotoTransfer(Boto):
    name = "boto3 download_fileobj"
    cannot: ClassVar = {
        "chunks": "downloads as a whole",
        "buffered": "downloads as a whole",
    }

    def readinto(self, key: str, view: memoryview) -> None:
        self._client.download_fileobj(self._bucket, key, _Into(view))

    small = readinto

    def read(self, key: str) -> Any:
        file = io.BytesIO()
        self._client.download_fileobj(self._bucket, key, file)
        return file.getbuffer()
