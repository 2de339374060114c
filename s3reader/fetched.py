"""A fetched object: what `S3Client.read_many` hands out."""

from __future__ import annotations

from collections.abc import Mapping

from .results import HeadObjectResult, parse_headers


class FetchedObject:
    """One object of many that were read together, or why it could not be.

    Args:
        bucket, key: the object.
        index: its number among those that were asked for, from 0.
        data: its bytes.
        size, etag: of the version that was read.
        offset: where in ``into`` the bytes begin; None where they are in a buffer of their own.
        verified: whether all its bytes were held to the checksum that S3 keeps with it.
        head: of the response.
        error: why there are none.
    """

    __slots__ = (
        "_data",
        "_head",
        "bucket",
        "error",
        "etag",
        "index",
        "key",
        "offset",
        "size",
        "verified",
    )

    def __init__(
        self,
        bucket: str,
        key: str,
        index: int,
        data: memoryview | None = None,
        size: int | None = None,
        etag: str | None = None,
        offset: int | None = None,
        verified: bool = False,
        head: bytes = b"",
        error: Exception | None = None,
    ) -> None:
        self.bucket = bucket
        self.key = key
        self.index = index
        self.size = size
        self.etag = etag
        self.offset = offset
        self.verified = verified
        self.error = error
        self._data = data
        self._head = head

    @property
    def data(self) -> memoryview:
        """The bytes: read-only where they came in memory of the library's.

        Raises:
            Exception: `error`, if the object could not be had.
        """
        if self._data is None:
            assert self.error is not None
            raise self.error
        return self._data

    @property
    def info(self) -> HeadObjectResult:
        """What the response told about the object.

        Raises:
            Exception: `error`, if the object could not be had.
        """
        if self.error is not None:
            raise self.error
        # The length that a response tells is that of its range.
        headers = parse_headers(self._head) | {"content-length": str(self.size)}
        return HeadObjectResult.from_headers(headers | {"etag": self.etag or ""})

    @property
    def metadata(self) -> Mapping[str, str]:
        """The user's metadata, by lower-case name."""
        return self.info.metadata

    def __len__(self) -> int:
        return len(self.data)

    def __bytes__(self) -> bytes:
        return bytes(self.data)

    def __repr__(self) -> str:
        what = f"{len(self._data)} bytes" if self._data is not None else repr(self.error)
        return f"<FetchedObject {self.index} s3://{self.bucket}/{self.key}: {what}>"
