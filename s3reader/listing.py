"""Listings: pages of a bucket's keys, resumable and picklable."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from .errors import IncompleteDataError
from .forks import whole
from .request import Request
from .results import ObjectInfo, RestoreStatus, is_etag, parse_size

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from .client import S3Client

_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d*)?Z?", re.ASCII)


@dataclass(frozen=True)
class ListObjectResult:
    """One page.

    Args:
        object_info: the objects, in the order of their keys.
        common_prefixes: what the keys with the delimiter after the prefix begin with.
    """

    object_info: list[ObjectInfo] = field(default_factory=list)
    common_prefixes: list[str] = field(default_factory=list)


class ListObjectStream:
    """An iterator of a listing's pages.

    It keeps the continuation token of the next page, so it resumes after an error, and pickles.

    Args:
        client: asks for the pages.
        bucket, prefix, delimiter, max_keys: as in `S3Client.list_objects`.
    """

    def __init__(
        self, client: S3Client, bucket: str, prefix: str, delimiter: str, max_keys: int
    ) -> None:
        self._client = client
        self.bucket = bucket
        self.prefix = prefix
        self.delimiter = delimiter
        self.max_keys = max_keys
        self.continuation_token: str | None = None
        self.complete = False

    def __iter__(self) -> Iterator[ListObjectResult]:
        return self

    def __next__(self) -> ListObjectResult:
        """The next page.

        Raises:
            S3Exception: it could not be had; the next call asks for it again.
        """
        if self.complete:
            raise StopIteration
        document = self._client._list_page(self._request())
        try:
            page, token, truncated = _parse_page(document)
            if truncated and token == self.continuation_token:
                raise ValueError("its continuation token is the one it was asked with")
        except ValueError as error:
            raise IncompleteDataError(
                f"ListObjectsV2 s3://{self.bucket}/{self.prefix}: the answer is not a listing "
                f"({error}). Check that the endpoint is S3.",
                bucket=self.bucket,
                operation="ListObjectsV2",
            ) from None
        self.continuation_token = token
        self.complete = not truncated
        return page

    def _request(self) -> Request:
        query = [
            ("list-type", "2"),
            ("encoding-type", "url"),
            ("max-keys", str(self.max_keys)),
            ("prefix", self.prefix),
        ]
        if self.delimiter:
            query.append(("delimiter", self.delimiter))
        if self.continuation_token is not None:
            query.append(("continuation-token", self.continuation_token))
        return Request("ListObjectsV2", self.bucket, query=tuple(query), headers=self._headers())

    def _headers(self) -> tuple[tuple[str, str], ...]:
        headers = [("x-amz-optional-object-attributes", "RestoreStatus")]
        if self._client.s3client_config.requester_pays:
            headers.append(("x-amz-request-payer", "requester"))
        return tuple(headers)


def _parse_page(document: bytes) -> tuple[ListObjectResult, str | None, bool]:
    """The page, the next one's token and whether there is a next one."""
    # S3 answers in UTF-8; in UTF-16, which has NUL bytes, a declaration would go unnoticed.
    if any(mark in document for mark in (b"<!DOCTYPE", b"<!ENTITY", b"\0")):
        raise ValueError("it declares a document type")
    with whole:
        from xml.etree import ElementTree  # costs as much to import as half of this library

    try:
        root = ElementTree.fromstring(document)
    except (ElementTree.ParseError, LookupError) as error:  # LookupError: an unknown encoding
        raise ValueError(str(error)) from None
    namespace = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
    if root.tag != f"{namespace}ListBucketResult":
        raise ValueError(f"it is a {root.tag.removeprefix(namespace)[:100]}")
    encoded = root.findtext(f"{namespace}EncodingType") == "url"

    def text(element: Element, name: str) -> str | None:
        return element.findtext(f"{namespace}{name}")

    def name_of(element: Element, name: str) -> str:
        value = text(element, name)
        if value is None:
            raise ValueError(f"a {name} is missing")
        return unquote_plus(value) if encoded else value

    def size_of(element: Element) -> int:
        size = parse_size(text(element, "Size"))
        if size is None:
            raise ValueError("a Size is none")
        return size

    def etag_of(element: Element) -> str:
        etag = text(element, "ETag") or ""
        if not is_etag(etag):
            raise ValueError(f"an ETag cannot be one: {etag[:100]!r}")
        return etag

    def info(element: ElementTree.Element) -> ObjectInfo:
        restore = element.find(f"{namespace}RestoreStatus")
        return ObjectInfo(
            key=name_of(element, "Key"),
            etag=etag_of(element),
            size=size_of(element),
            last_modified=_parse_time(text(element, "LastModified")) or 0,
            storage_class=text(element, "StorageClass"),
            restore_status=None
            if restore is None
            else RestoreStatus(
                in_progress=text(restore, "IsRestoreInProgress") == "true",
                expiry=_parse_time(text(restore, "RestoreExpiryDate")),
            ),
        )

    page = ListObjectResult(
        object_info=[info(element) for element in root.iter(f"{namespace}Contents")],
        common_prefixes=[
            name_of(element, "Prefix") for element in root.iter(f"{namespace}CommonPrefixes")
        ],
    )
    truncated = text(root, "IsTruncated") == "true"
    token = text(root, "NextContinuationToken")
    if truncated and not token:
        raise ValueError("it is truncated but has no continuation token")
    return page, token, truncated


def _parse_time(text: str | None) -> int | None:
    """Seconds since the epoch of an ISO 8601 time in UTC, as S3 writes it."""
    if not text:
        return None
    parts = _TIME.fullmatch(text)  # not strptime, which imports a module of its own
    if parts is None:
        raise ValueError(f"time {text[:40]!r} is none in ISO 8601")
    year, month, day, hour, minute, second = map(int, parts.groups())
    moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    return int(moment.timestamp())
