"""The client: what a script holds to read from S3."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .batch import Batch
from .checksums import ASK
from .config import S3ClientConfig
from .constructor import S3ReaderConstructor
from .listing import ListObjectStream
from .names import check_bucket, check_key, parse_uri
from .placement import placement
from .request import encryption_headers
from .results import HeadObjectResult, ObjectInfo
from .selection import Range, select
from .session import LIBCURL, Session
from .source import ObjectSource, head_object
from .version import __version__

if TYPE_CHECKING:
    from .protocol import S3ReaderConstructorProtocol
    from .s3reader import S3Reader

Pairs = tuple[tuple[str, str], ...]

LARGEST_PAGE = 1000
"""Keys that S3 gives at most in one page of a listing."""


class S3Client:
    """Reads objects of S3 and of what speaks its protocol.

    Making one sends no request and starts no thread. All threads of a process may share it; it
    pickles as its settings, and goes on working in a forked process.

    Args:
        region: of the buckets; by default where AWS users have it. A bucket that is elsewhere is
            found from S3's own answer.
        endpoint: URL of another S3, "https://host:port"; by default where AWS users have it.
        user_agent: put before the library's own; text, or an object with a ``prefix``.
        s3client_config: settings; see `S3ClientConfig`.

    Raises:
        ValueError, TypeError: region, endpoint or user_agent are none.

    Example::

        with S3Client("eu-central-1") as client:
            reader = client.get_object("bucket", "key")
            reader.readinto(tensor.numpy())
    """

    def __init__(
        self,
        region: str | None = None,
        *,
        endpoint: str | None = None,
        user_agent: Any = None,
        s3client_config: S3ClientConfig | None = None,
    ) -> None:
        self._arguments = (region, endpoint, user_agent)
        self._sender = _sender(user_agent)
        self._config = _settings(s3client_config)
        self._session = Session(region, endpoint, self.user_agent_prefix, self._config)

    @property
    def region(self) -> str:
        """The region that requests are signed for, unless a bucket turned out to be elsewhere."""
        return self._session.signer.endpoints.region

    @property
    def s3client_config(self) -> S3ClientConfig:
        """The settings."""
        return self._config

    @property
    def user_agent_prefix(self) -> str:
        """What requests say about who sends them."""
        python = ".".join(map(str, sys.version_info[:3]))
        own = f"s3reader/{__version__} python/{python} {LIBCURL}"
        return f"{self._sender} {own}" if self._sender else own

    def get_object(
        self,
        bucket: str,
        key: str,
        *,
        object_info: ObjectInfo | HeadObjectResult | None = None,
        reader_constructor: S3ReaderConstructorProtocol | None = None,
        version_id: str | None = None,
        sse_customer_key: bytes | None = None,
    ) -> S3Reader:
        """A reader of an object. No request is made.

        Args:
            bucket, key: the object.
            object_info: what a listing told about it; saves asking, and pins version and size.
            reader_constructor: from `S3ReaderConstructor`; sequential by default.
            version_id: of a bucket with versions.
            sse_customer_key: 32 bytes, for an object encrypted with a key of the customer's.

        Raises:
            ValueError: bucket, key or another argument is impossible.
        """
        check_bucket(bucket)
        check_key(key)
        query, headers = self._extras(version_id, sse_customer_key)
        source = ObjectSource(
            self._session, bucket, key, query=query, headers=headers, object_info=object_info
        )
        constructor = reader_constructor or S3ReaderConstructor.default()
        return constructor(bucket=bucket, key=key, get_object_info=source.info, get_stream=source)

    def read_many(
        self,
        bucket: str | Iterable[str | os.PathLike[str] | tuple[str, str]],
        keys: Iterable[str | ObjectInfo] | None = None,
        *,
        ranges: Iterable[Range | None] | None = None,
        ordered: bool = True,
        into: Any = None,
        errors: str = "raise",
        sse_customer_key: bytes | None = None,
    ) -> Batch:
        """Read many objects together: an iterator that has many on their way.

        Made for small objects, of which one at a time would mostly be waiting. How many are ahead
        of whoever iterates depends on the connections, and on the memory that `memory_limit`
        leaves; ``keys`` may be endless. Closing the iterator cancels what is on its way.

        Args:
            bucket: of all ``keys``; or, without them, an iterable of "s3://bucket/key" and of
                pairs of bucket and key.
            keys: an iterable of keys, or of what a listing told, which pins version and size.
            ranges: for each object a pair ``(start, stop)`` of bytes, half-open, ``stop`` None for
                the object's end; or None for the whole object.
            ordered: give objects in the order of ``keys``; otherwise each as soon as it is there.
            into: where the bytes go. By default memory of the library's, recycled when nobody
                refers to an object's ``data`` any more. An array (a numpy array, a tensor's
                memory) of several dimensions: the object of that number fills the row of that
                number from its start, the rest of the row stays as it is. A flat one: the objects
                are packed one after the other as they are given, with ``offset`` telling where.
                An iterable of buffers: one for each object.
            errors: "raise": an object that cannot be had ends the iteration with its error, when
                it is its turn. "return": it is given with its ``error``, and others go on.
            sse_customer_key: as in `get_object`.

        Raises:
            TypeError, ValueError: an argument is impossible. Of an element of ``keys``, when it is
                that element's turn.

        Example::

            class Photographs(torch.utils.data.Dataset):
                def __getitems__(self, indices):
                    keys = [self.keys[index] for index in indices]
                    return [decode(photo.data) for photo in client.read_many("bucket", keys)]
        """
        selection = select(bucket, keys, ranges)
        if errors not in ("raise", "return"):
            raise ValueError(f'errors takes "raise" or "return", not {errors!r}')
        query, headers = self._extras(None, sse_customer_key)
        asks = self._config.checksum_mode
        return Batch(
            self._session,
            selection,
            placement(into),
            ordered=ordered,
            raising=errors == "raise",
            query=query,
            headers=headers + ASK if asks else headers,
            asks=asks,
        )

    def head_object(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        sse_customer_key: bytes | None = None,
    ) -> HeadObjectResult:
        """What S3 tells about an object.

        Args:
            bucket, key, version_id, sse_customer_key: as in `get_object`.

        Raises:
            S3Exception: the request failed; ``FileNotFoundError`` where there is no such object.
        """
        check_bucket(bucket)
        check_key(key)
        query, headers = self._extras(version_id, sse_customer_key)
        return head_object(self._session, bucket, key, query, headers)

    def list_objects(
        self, bucket: str, prefix: str = "", delimiter: str = "", max_keys: int = LARGEST_PAGE
    ) -> ListObjectStream:
        """An iterator of the pages of a listing. No request is made before the first page.

        Args:
            bucket: what is listed.
            prefix: what the keys begin with.
            delimiter: groups the keys that have it after the prefix, mostly "/".
            max_keys: keys of one page, at most 1000.
        """
        check_bucket(bucket)
        for name, value in (("prefix", prefix), ("delimiter", delimiter)):
            if not isinstance(value, str):
                raise TypeError(f"{name} takes a str, not {type(value).__name__}")
        if isinstance(max_keys, bool) or not isinstance(max_keys, int):
            raise TypeError(f"max_keys takes an integer, not {type(max_keys).__name__}")
        if not 1 <= max_keys <= LARGEST_PAGE:
            raise ValueError(f"max_keys takes 1 to {LARGEST_PAGE}, not {max_keys}")
        return ListObjectStream(self, bucket, prefix, delimiter, max_keys)

    def stats(self) -> dict[str, Any]:
        """Counts since the client was made, in this process.

        Returns:
            ``requests`` by operation, ``retries`` by cause, ``throttles``, ``bytes_requested``
            (what callers got), ``bytes_received`` (what the network gave),
            ``connections_opened``, ``connections_reused``, and ``time_to_first_byte`` with
            ``count`` and, in seconds, ``mean``, ``p50`` and ``p99``.
        """
        return self._session.stats()

    def close(self) -> None:
        """Cancel what is on its way, close the connections and end the threads. Idempotent."""
        self._session.close()

    def __enter__(self) -> S3Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _remake, (*self._arguments, self._config)

    def __repr__(self) -> str:
        return f"S3Client({self.region!r})"

    def _extras(self, version_id: str | None, customer_key: bytes | None) -> tuple[Pairs, Pairs]:
        if version_id is not None and not isinstance(version_id, str):
            raise TypeError(f"version_id takes a str or None, not {type(version_id).__name__}")
        if version_id == "":
            raise ValueError("version_id takes the id of a version, or None for the newest")
        query: Pairs = () if version_id is None else (("versionId", version_id),)
        headers = encryption_headers(customer_key)
        if headers and self._session.signer.endpoints.exposed:
            raise ValueError(
                "sse_customer_key takes an https endpoint: over http others could read the key, "
                "and S3 refuses it"
            )
        if self._config.requester_pays:
            headers = (*headers, ("x-amz-request-payer", "requester"))
        return query, headers

    def _list_page(self, request: Any) -> bytes:
        return self._session.execute(request).text


def _settings(given: Any) -> S3ClientConfig:
    """The settings that were given, or the default ones."""
    if given is None:
        return S3ClientConfig()
    if not isinstance(given, S3ClientConfig):
        raise TypeError(f"s3client_config takes an S3ClientConfig, not {type(given).__name__}")
    return given


def _sender(user_agent: Any) -> str:
    """What a user agent, as text or as an object with a ``prefix``, says."""
    text = getattr(user_agent, "prefix", user_agent)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise TypeError(f"user_agent takes text or an object with a prefix, not {user_agent!r}")
    if not text.isprintable():
        raise ValueError(f"user_agent takes printable text of one line, got {text!r}")
    return text


def _remake(
    region: str | None, endpoint: str | None, user_agent: Any, config: S3ClientConfig
) -> S3Client:
    return S3Client(region, endpoint=endpoint, user_agent=user_agent, s3client_config=config)


def open_uri(
    uri: str | os.PathLike[str],
    reader_constructor: S3ReaderConstructorProtocol | None = None,
    client: S3Client | None = None,
    **arguments: Any,
) -> S3Reader:
    """A reader of the object at "s3://bucket/key", in one line.

    Args:
        uri: "s3://bucket/key".
        reader_constructor: from `S3ReaderConstructor`; sequential by default.
        client: to share; by default one client per process and settings is made and kept.
        arguments: ``region``, ``endpoint``, ``s3client_config`` for that client, and
            ``object_info``, ``version_id``, ``sse_customer_key`` as in `S3Client.get_object`.

    Raises:
        ValueError: the URI is none.
        TypeError: an argument is unknown, or settings are given together with a client.
    """
    bucket, key = parse_uri(uri)
    settings = {
        name: arguments.pop(name)
        for name in ("region", "endpoint", "s3client_config")
        if name in arguments
    }
    if client is None:
        client = _shared_client(**settings)
    elif settings:
        raise TypeError(f"{', '.join(settings)}: given together with a client, which has its own")
    return client.get_object(bucket, key, reader_constructor=reader_constructor, **arguments)


_shared: dict[tuple[Any, ...], S3Client] = {}


def _shared_client(
    region: str | None = None,
    endpoint: str | None = None,
    s3client_config: S3ClientConfig | None = None,
) -> S3Client:
    # What the environment says about region, endpoint and credentials belongs to the settings.
    environment = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    settings = (region, endpoint, s3client_config, environment)
    try:
        return _shared[settings]
    except KeyError:
        client = S3Client(region, endpoint=endpoint, s3client_config=s3client_config)
        return _shared.setdefault(settings, client)
