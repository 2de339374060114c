"""One stream of chunks being read forward, and where in the object it stands.

``get_stream`` may return any iterable: the library's own `GetObjectStream`, a generator, a list.
A `Feed` takes chunks from it, makes sure that they are bytes which nobody will change, and counts:
a stream that ends before its range does, or goes on after it, is an error that says so, never
data. A feed that raised is finished; whoever holds it opens another, because a generator that
has raised would look like one that has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from .errors import IncompleteDataError
from .stream import GetObjectStream

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Feed:
    """Chunks of ``s3://bucket/key`` from ``start`` on.

    Args:
        bucket, key: for messages.
        stream: any iterable of bytes-like chunks; with a ``close`` method it is closed.
        start: object offset of its first byte.
        end: object offset where it must end, or None while nobody knows.
    """

    def __init__(
        self, bucket: str, key: str, stream: Iterable[Buffer], start: int, end: int | None
    ) -> None:
        self.start = start
        self.position = start
        self.end = end
        self._bucket = bucket
        self._key = key
        self._stream = stream
        self._chunks: Iterator[Buffer] = iter(stream)
        self._own = isinstance(stream, GetObjectStream)

    def pull(self, most: int | None = None) -> Buffer | None:
        """The next chunk, which starts where ``position`` stood; None at the stream's end.

        Args:
            most: have an own stream give a copy of so many bytes at most.

        Raises:
            IncompleteDataError: the stream ended before ``end`` or goes on after it.
            TypeError: it gave something that is not bytes-like.
        """
        chunks = self._chunks
        if most is not None and self._own:
            chunks = iter([self._stream.piece(most)])  # type: ignore[attr-defined]
        for chunk in chunks:
            data = chunk if self._own or type(chunk) is bytes else _steady(chunk)
            length = memoryview(data).nbytes
            if not length:
                continue
            self.position += length
            if self.end is not None and self.position > self.end:
                raise self.wrong_length()
            return data
        if self.end is not None and self.position < self.end:
            raise self.wrong_length()
        return None

    def finish(self) -> None:
        """Make sure that a stream which has reached its ``end`` gives nothing more; close it."""
        self.pull()
        self.close()

    def prefetch(self) -> None:
        """Have an own stream's first bytes on their way."""
        self._stream.prefetch()  # type: ignore[attr-defined]

    def readinto(self, view: memoryview) -> int:
        """Have an own stream fill ``view`` itself; fewer bytes come only at its end."""
        received: int = self._stream.readinto(view)  # type: ignore[attr-defined]
        self.position += received
        return received

    def wrong_length(self) -> IncompleteDataError:
        """The error for a stream that does not end at ``end``, with both lengths."""
        end = self.position if self.end is None else self.end
        return wrong_length(self._bucket, self._key, self.start, end, self.position - self.start)

    def close(self) -> None:
        """Cancel the stream, if it can be cancelled."""
        self._chunks, chunks = iter(()), self._chunks
        for closeable in (self._stream, chunks):
            close: Callable[[], object] | None = getattr(closeable, "close", None)
            if close is not None:
                close()
            if chunks is self._stream:
                break


def wrong_length(bucket: str, key: str, start: int, end: int, received: int) -> IncompleteDataError:
    """The error for a stream of ``[start, end)`` that gave ``received`` bytes."""
    what = "more than was asked for" if received > end - start else "an incomplete body"
    return IncompleteDataError(
        f"reading s3://{bucket}/{key}: the stream of bytes [{start}, {end}) gave {what}: "
        f"expected {end - start} bytes, received {received}. Read again; if it persists, the "
        "object may have been replaced or get_stream does not keep to the range it is given.",
        bucket=bucket,
        key=key,
        operation="GetObject",
        range=(start, end),
    )


def _steady(chunk: Buffer) -> Buffer:
    """``chunk`` as bytes that stay as they are: its source may use the memory again."""
    try:
        view = memoryview(chunk)
    except TypeError:
        raise TypeError(
            f"get_stream must give bytes-like chunks, not {type(chunk).__name__}"
        ) from None
    return view if type(view.obj) is bytes and view.c_contiguous else view.tobytes()
