"""boto3: a GET's body, and the transfer managers that its documentation recommends for speed."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from contenders.contender import AT_ONCE, Contender, Place, ReadAt, Threads, fill, views_of

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
    """What a boto3 client does."""

    peer = "boto3"
    module = "boto3"

    def __init__(self, place: Place) -> None:
        import boto3
        from botocore.config import Config

        super().__init__(place)
        self._library = boto3
        self._client: Any = boto3.client(
            "s3",
            region_name="us-east-1",
            endpoint_url=place.endpoint,
            verify=place.authority,
            config=Config(s3={"addressing_style": "path"}, max_pool_connections=AT_ONCE),
        )

    def version(self) -> str:
        return str(self._library.__version__)

    def _body(self, key: str, **options: Any) -> Any:
        return self._client.get_object(Bucket=self.place.bucket, Key=key, **options)["Body"]

    def close(self) -> None:
        self._client.close()


class BotoBody(Boto):
    name = "boto3 get_object"
    cannot: ClassVar = {
        "buffered": "has no buffer: io.BufferedReader around it is the floor",
        "file": "its body cannot seek",
        "dataset": "has no dataset",
    }

    def readinto(self, key: str, view: memoryview) -> None:
        body = self._body(key)
        # urllib3 reads into memory of its own first, as much as is asked for.
        fill(lambda rest: body.readinto(rest[:_PIECE]), view)

    small = readinto

    def read(self, key: str) -> Any:
        return self._body(key).read()

    def chunks(self, key: str) -> Iterator[Any]:
        yield from self._body(key).iter_chunks(_PIECE)

    def pread(self, key: str) -> ReadAt:
        def read_at(start: int, view: memoryview) -> None:
            body = self._body(key, Range=f"bytes={start}-{start + len(view) - 1}")
            fill(body.readinto, view)

        return read_at

    def ranges(self, key: str, starts: Sequence[int], views: Sequence[memoryview]) -> Any:
        threads = Threads()
        try:
            threads.map(self.pread(key), starts, views)
        finally:
            threads.close()

    def many(self, keys: Sequence[str], rows: Any) -> Any:
        threads = Threads()
        try:
            threads.map(self.readinto, keys, views_of(rows))
        finally:
            threads.close()

    def cold(self, key: str) -> None:
        self._body(key).read(1)


class BotoTransfer(Boto):
    name = "boto3 download_fileobj"
    cannot: ClassVar = dict.fromkeys(
        "chunks buffered pread ranges cold".split(), "downloads as a whole"
    ) | {
        "many": "has no call for many objects; see get_object",
        "dataset": "has no dataset",
    }

    def readinto(self, key: str, view: memoryview) -> None:
        self._client.download_fileobj(self.place.bucket, key, _Into(view))

    small = readinto

    def read(self, key: str) -> Any:
        file = io.BytesIO()
        self._client.download_fileobj(self.place.bucket, key, file)
        return file.getbuffer()

    def file(self, key: str) -> AbstractContextManager[Any]:
        file = io.BytesIO()
        self._client.download_fileobj(self.place.bucket, key, file)
        file.seek(0)
        return file


class BotoCRT(Contender):
    """s3transfer over the AWS Common Runtime: what boto3 uses where the CRT is installed.

    boto3 itself gives its CRT client no endpoint without TLS, so it is made here, as boto3 does.
    """

    name = "boto3 CRT"
    peer = "boto3 CRT"
    module = "s3transfer.crt"
    cannot: ClassVar = dict.fromkeys(
        "chunks buffered pread ranges".split(), "downloads as a whole"
    ) | {"dataset": "has no dataset", "cold": "needs a boto3 client besides; see get_object"}

    def __init__(self, place: Place) -> None:
        import awscrt
        import botocore.session
        from s3transfer.crt import (
            BotocoreCRTCredentialsWrapper,
            BotocoreCRTRequestSerializer,
            CRTTransferManager,
            create_s3_crt_client,
        )

        super().__init__(place)
        self._library = awscrt
        session = botocore.session.Session()
        wrapper = BotocoreCRTCredentialsWrapper(session.get_credentials())
        client = create_s3_crt_client(
            "us-east-1",
            crt_credentials_provider=wrapper.to_crt_credentials_provider(),
            use_ssl=place.authority is not None,
            verify=place.authority,
        )
        arguments = {"region_name": "us-east-1", "endpoint_url": place.endpoint}
        serializer = BotocoreCRTRequestSerializer(session, arguments)
        self._manager: Any = CRTTransferManager(client, serializer)

    def version(self) -> str:
        return str(self._library.__version__)

    def readinto(self, key: str, view: memoryview) -> None:
        self._manager.download(self.place.bucket, key, _Into(view)).result()

    small = readinto

    def read(self, key: str) -> Any:
        file = io.BytesIO()
        self._manager.download(self.place.bucket, key, file).result()
        return file.getbuffer()

    def file(self, key: str) -> AbstractContextManager[Any]:
        file = io.BytesIO()
        self._manager.download(self.place.bucket, key, file).result()
        file.seek(0)
        return file

    def many(self, keys: Sequence[str], rows: Any) -> Any:
        pairs = zip(keys, views_of(rows), strict=True)
        download = self._manager.download
        for future in [download(self.place.bucket, key, _Into(view)) for key, view in pairs]:
            future.result()

    def close(self) -> None:
        self._manager.shutdown()
