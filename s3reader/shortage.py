"""Shortage: an object is said to have more bytes than there is memory for."""

from __future__ import annotations

from .errors import S3Exception


class ObjectTooLargeError(S3Exception, MemoryError):
    """There is no memory for as many bytes as the object is said to have."""


def no_memory(bucket: str, key: str, start: int, count: int) -> ObjectTooLargeError:
    """The error for ``count`` bytes from ``start`` on that there is no memory for."""
    return ObjectTooLargeError(
        f"reading s3://{bucket}/{key} bytes {start}-{start + count - 1}: there is no memory for "
        f"{count} bytes. Read pieces, read(size), or use readinto(buffer). If the object is not "
        "that large, what answers is not S3.",
        bucket=bucket,
        key=key,
        operation="GetObject",
        range=(start, start + count),
    )
