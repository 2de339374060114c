"""A source: one object as one reader sees it.

It keeps the version that the first response told (its ETag and size), holds all later requests to
it, and makes the streams that the requests are made by. Readers that `S3Client` makes get one as
their ``get_stream``, and its :meth:`ObjectSource.info` as their ``get_object_info``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from s3reader._ext.counters import Counters
from s3reader._ext.destination import Destination
from s3reader._ext.transfer import Lane, Transfer

from .checksums import ASK
from .errors import error_from_transport
from .integrity import OFF, Verifier
from .request import Request
from .results import HeadObjectResult, ObjectInfo, is_etag, parse_headers
from .stream import GetObjectStream

if TYPE_CHECKING:
    from .session import Session


class ObjectSource:
    """One object as one reader sees it; the ``get_stream`` of readers made by `S3Client`.

    Args:
        session: carries out the requests.
        bucket, key: the object.
        query, headers: what each request adds (a version id, keys of SSE-C, requester pays).
        object_info: what a listing told; pins version and size.
    """

    def __init__(
        self,
        session: Session,
        bucket: str,
        key: str,
        *,
        query: tuple[tuple[str, str], ...] = (),
        headers: tuple[tuple[str, str], ...] = (),
        object_info: ObjectInfo | HeadObjectResult | None = None,
    ) -> None:
        self.session = session
        self.bucket = bucket
        self.key = key
        self.size: int | None = None
        self.etag: str | None = None
        self._query = query
        self._headers = headers
        self._info = object_info
        if object_info is not None:
            self.size = object_info.size
            etag = getattr(object_info, "etag", None) or ""
            if not is_etag(etag):
                raise ValueError(f"object_info takes the ETag of a version, not {etag[:100]!r}")
            self.etag = etag if etag.startswith('"') else None
        self._begin()

    def _begin(self) -> None:
        """What does not travel: the counts, the signed request, what was verified."""
        asks = self.session.config.checksum_mode
        headers = self._headers + (ASK if asks else ())
        self.counters = Counters()
        self.request = Request("GetObject", self.bucket, self.key, self._query, headers)
        self.verifier = Verifier(self.bucket, self.key, "" if asks else OFF)
        if isinstance(self._info, HeadObjectResult) and self.etag == self._info.etag:
            self.verifier.told(self._info)

    def __call__(self, start: int | None = None, end: int | None = None) -> GetObjectStream:
        """A stream over bytes ``[start, end)``; by default over the whole object.

        No request is made. ``end`` may lie past the object's end.

        Raises:
            ValueError: the range is none.
        """
        first = 0 if start is None else start
        if first < 0 or (end is not None and end < first):
            raise ValueError(f"bytes {start}-{end} are not a range")
        return GetObjectStream(self, first, end)

    def tail(self, length: int) -> GetObjectStream:
        """A stream over the last ``length`` bytes; the whole object if it is shorter."""
        if length < 1:
            raise ValueError(f"a tail has at least one byte, not {length}")
        if self.size is not None:
            return GetObjectStream(self, max(0, self.size - length), None)
        return GetObjectStream(self, None, length)

    def info(self) -> HeadObjectResult | ObjectInfo:
        """What S3 tells about the object; asked once.

        Raises:
            S3Exception: the request failed.
        """
        if self._info is None:
            self._info = head_object(
                self.session, self.bucket, self.key, self._query, self._headers, self.etag or ""
            )
            self.learn(self._info.size, self._info.etag)
            self.verifier.told(self._info)
        return self._info

    def learn(self, size: int | None, etag: str | None) -> None:
        """Keep what the first response tells and hold the others to it.

        Requests that were sent before it came asked for no version.

        Raises:
            ObjectChangedError: the response is of another version.
        """
        if self.size is None:
            self.size = size
        if self.etag is None and etag:
            self.etag = etag
        if size != self.size or (etag and etag != self.etag):
            detail = f"expected {self.size} bytes of ETag {self.etag}, received {size} of {etag}"
            raise error_from_transport(
                "changed", detail, bucket=self.bucket, key=self.key, operation="GetObject"
            )

    def transfer(self, lane: Lane, start: int | None, stop: int, **place: Any) -> Transfer:
        """One request for bytes ``[start, stop)``, held to the version and size known so far.

        Args:
            lane: what it is waited for with.
            start: None for the last ``stop`` bytes.
            place: ``destination`` and ``offset`` of a buffer; by default a pooled chunk.
        """
        return Transfer(
            lane,
            self.request,
            self.session.pool,
            start,
            stop,
            etag=self.etag or "",
            total=self.size,
            **place,
        )

    def fill(self, start: int, view: memoryview) -> int:
        """Put the object's bytes from ``start`` on straight into memory.

        Args:
            start: the first byte.
            view: writable, of single bytes.

        Returns:
            How many bytes there are; fewer than the memory takes only at the object's end.

        Raises:
            S3Exception: the bytes could not be had; what is in the memory is undefined.
        """
        if len(view) > self.session.config.part_size:
            stream = self(start, start + len(view))
            try:
                return stream.readinto(view)
            finally:
                stream.close()
        destination = Destination(view)
        try:
            return self._fill_part(start, destination)
        finally:
            destination.release()

    def _fill_part(self, start: int, destination: Destination) -> int:
        """What is no more than a part needs no stream: one request, waited for here."""
        session, size, etag = self.session, self.size, self.etag
        stop = start + len(destination)
        if size is not None and stop > size:
            stop = size
        if stop <= start:
            return 0
        transfer = Transfer(
            Lane(self.counters, session.counters),
            self.request,
            session.pool,
            start,
            stop,
            etag=etag or "",
            total=size,
            destination=destination,
        )
        session.perform(transfer)
        if transfer.total != size or transfer.etag != etag:
            self.learn(transfer.total, transfer.etag)
        received: int = transfer.received
        verifier = self.verifier
        if verifier.active or (transfer.tells_checksum and verifier.told_by(transfer)):
            with memoryview(destination)[:received] as view:
                verifier.take(start, view)
        self.counters.count_requested(received)
        session.counters.count_requested(received)
        return received

    def stats(self) -> dict[str, Any]:
        """Counts of this object's requests, as `S3Client.stats` gives them for all."""
        return self.counters.snapshot()

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["counters"], state["request"], state["verifier"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def __repr__(self) -> str:
        return f"<ObjectSource s3://{self.bucket}/{self.key}>"


def head_object(
    session: Session,
    bucket: str,
    key: str,
    query: tuple[tuple[str, str], ...],
    headers: tuple[tuple[str, str], ...],
    etag: str = "",
) -> HeadObjectResult:
    """Ask S3 about an object; with ``etag``, about that version of it."""
    if session.config.checksum_mode:
        headers += ASK
    transfer = session.execute(Request("HeadObject", bucket, key, query, headers), etag=etag)
    told = parse_headers(transfer.head)
    try:
        return HeadObjectResult.from_headers(told)
    except ValueError as error:
        raise error_from_transport(
            "bad_response",
            str(error),
            status=transfer.status,
            bucket=bucket,
            key=key,
            operation="HeadObject",
            request_id=told.get("x-amz-request-id"),
            host_id=told.get("x-amz-id-2"),
        ) from None
