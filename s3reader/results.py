"""What S3 tells about objects: the records that head and list return."""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_ETAG = 255
"""Characters of an ETag; S3's have at most 40."""


@dataclass(frozen=True)
class RestoreStatus:
    """State of an archived object's temporary copy.

    Args:
        in_progress: whether it is still being restored.
        expiry: until when the copy stays, in seconds since the epoch.
    """

    in_progress: bool
    expiry: int | None = None


@dataclass(frozen=True)
class ObjectInfo:
    """An object of a listing.

    Args:
        key: its key.
        etag: its version's tag, with the quotes that S3 gives.
        size: in bytes.
        last_modified: seconds since the epoch.
        storage_class: "STANDARD", "GLACIER", ...
        restore_status: of an archived object, where the listing tells.
    """

    key: str
    etag: str
    size: int
    last_modified: int
    storage_class: str | None = None
    restore_status: RestoreStatus | None = None


@dataclass(frozen=True)
class HeadObjectResult:
    """What S3 tells about one object.

    Args:
        etag, size, last_modified, storage_class, restore_status: as in `ObjectInfo`.
        content_type: the media type it was stored with.
        content_encoding: the encoding it was stored with; its bytes are read as stored.
        version_id: of a bucket with versions.
        checksums: by algorithm ("crc32", "crc32c", "crc64nvme", "sha1", "sha256"), in base64.
        checksum_type: "FULL_OBJECT" or "COMPOSITE".
        metadata: the user's, by lower-case name.
        parts_count: of an object uploaded in parts, where S3 tells.
    """

    etag: str
    size: int
    last_modified: int
    storage_class: str | None = None
    restore_status: RestoreStatus | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    version_id: str | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)
    checksum_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    parts_count: int | None = None

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> HeadObjectResult:
        """The record that a response's headers, by lower-case name, describe.

        Raises:
            ValueError: there is no length, or it is none.
        """
        size = parse_size(headers.get("content-length"))
        if size is None:
            told = headers.get("content-length", "none")
            raise ValueError(f"expected the object's size as Content-Length, received {told}")
        etag = headers.get("etag", "")
        if not is_etag(etag):
            raise ValueError(f"expected a version as ETag, received {etag[:100]}")
        prefix = "x-amz-meta-"
        return cls(
            etag=etag,
            size=size,
            last_modified=parse_http_date(headers.get("last-modified")) or 0,
            storage_class=headers.get("x-amz-storage-class"),
            restore_status=parse_restore(headers.get("x-amz-restore")),
            content_type=headers.get("content-type"),
            content_encoding=headers.get("content-encoding"),
            version_id=headers.get("x-amz-version-id"),
            checksums=told_checksums(headers),
            checksum_type=headers.get("x-amz-checksum-type"),
            metadata={
                name[len(prefix) :]: value
                for name, value in headers.items()
                if name.startswith(prefix)
            },
            parts_count=parse_size(headers.get("x-amz-mp-parts-count")),
        )


def told_checksums(headers: Mapping[str, str]) -> dict[str, str]:
    """The checksums that a response's headers tell, in base64, by algorithm."""
    return {
        name: headers[f"x-amz-checksum-{name}"]
        for name in ("crc32", "crc32c", "crc64nvme", "sha1", "sha256")
        if f"x-amz-checksum-{name}" in headers
    }


def parse_headers(head: bytes) -> dict[str, str]:
    """Headers of a response's head, by lower-case name; repeated ones joined with ", "."""
    headers: dict[str, str] = {}
    for line in head.split(b"\n")[1:]:
        name, colon, value = line.partition(b":")
        if not colon:
            continue
        text = value.strip()
        try:
            decoded = text.decode("utf-8")
        except UnicodeDecodeError:
            decoded = text.decode("latin-1")
        lower = name.strip().lower().decode("latin-1")
        headers[lower] = f"{headers[lower]}, {decoded}" if lower in headers else decoded
    return headers


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_HTTP_DATE = re.compile(
    rf"\w+, (\d\d) ({'|'.join(_MONTHS)}) (\d{{4}}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII
)


def parse_http_date(text: str | None) -> int | None:
    """Seconds since the epoch of a date as HTTP writes it (RFC 9110); None where it is none."""
    match = _HTTP_DATE.fullmatch(text.strip()) if text else None
    if match is None:
        return None
    day, month, year, hour, minute, second = match.groups()
    moment = (int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second))
    try:
        return calendar.timegm((*moment, 0, 1, 0))
    except ValueError:  # of the year 0
        return None


def parse_restore(text: str | None) -> RestoreStatus | None:
    """What ``x-amz-restore`` tells."""
    if text is None:
        return None
    expiry = re.search(r'expiry-date="([^"]*)"', text)
    return RestoreStatus(
        in_progress='ongoing-request="true"' in text,
        expiry=parse_http_date(expiry.group(1)) if expiry else None,
    )


def parse_size(text: str | None) -> int | None:
    """A count of bytes as a server writes it; None where it is none."""
    # Sizes of S3 end at 50 TB; nineteen digits could not be expressed in the compiled core.
    fits = text is not None and text.isascii() and text.isdecimal() and len(text) < 19
    return int(text) if text is not None and fits else None


def is_etag(text: str) -> bool:
    """Whether a text can be sent back as an object's version: a header of one line (RFC 9110)."""
    return text.isascii() and text.isprintable() and len(text) <= MAX_ETAG
