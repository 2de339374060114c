"""A request: one operation on one object or bucket, before and after it is signed.

All parts of an object share one :class:`Request`. ``Range`` and ``If-Match`` are not signed, so
one signature serves them all for as long as it is fresh; the :class:`Signer` makes a new one when
it is not, and when credentials, clock or region turned out to be others. What the requests for a
bucket's objects have in common, all but the key, is a :class:`Route`, put together once a second.
"""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from s3reader._ext.sigv4 import PathSigner, canonical_query
from s3reader._ext.transfer import HeaderLines, SignedRequest

from .credentials import Credentials, resolve_credentials
from .endpoint import EndpointResolver, Target
from .errors import NoCredentialsError
from .names import quote_key

if TYPE_CHECKING:
    from .config import S3ClientConfig

SIGNATURE_LIFETIME = 300.0
"""Seconds for which a signature is used. S3 accepts it for 15 minutes, less the clocks' difference
and the time until the request arrives."""

ROUTE_LIFETIME = 1.0
"""Seconds for which what a bucket's requests share is used. Their date is that much older at most,
and credentials are asked for that often."""

MOST_ROUTES = 64
"""Routes kept. A client has few: one for each bucket and operation."""

MAX_CLOCK_SKEW = 900.0
"""Seconds by which a signature's time may differ from S3's clock (Amazon S3 API reference)."""

SHORTEST_SECRET = 8
"""Characters of a secret that can be told from ordinary words; S3's have 40, MinIO's at least 8."""

BELIEVABLE_TIMES = (1142294400.0, 4102444800.0)
"""Seconds since the epoch between which a server's clock can stand: from the day S3 opened,
2006-03-14, to the year 2100."""

FOREVER = 1e18
"""Monotonic time that never comes: when an unsigned request must be signed again."""


class MadeWith(NamedTuple):
    """What a request was signed with."""

    credentials: Credentials | None
    region: str
    epoch: int
    """Of the signer, before it looked at the rest."""

    def hide(self, text: str | None) -> str | None:
        """A server's words without the secrets that it may have read in the request."""
        if text and self.credentials:
            for secret in (self.credentials.token, self.credentials.secret_key):
                if secret and len(secret) >= SHORTEST_SECRET:
                    text = text.replace(secret, "…")
        return text


class Request:
    """What is asked of S3.

    Args:
        operation: "GetObject", "HeadObject" or "ListObjectsV2".
        bucket, key: the object; ``key`` is None for a bucket's operation.
        query: the query's parameters.
        headers: ``x-amz-*`` headers to send and sign.
    """

    __slots__ = (
        "bucket",
        "headers",
        "key",
        "operation",
        "query",
        "signed",
    )

    def __init__(
        self,
        operation: str,
        bucket: str,
        key: str | None = None,
        query: tuple[tuple[str, str], ...] = (),
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.operation = operation
        self.bucket = bucket
        self.key = key
        self.query = canonical_query(list(query)) if query else ""
        self.headers = headers
        self.signed: SignedRequest | None = None

    @property
    def method(self) -> str:
        """The HTTP method."""
        return "HEAD" if self.operation == "HeadObject" else "GET"


def encryption_headers(customer_key: bytes | None) -> tuple[tuple[str, str], ...]:
    """The headers that let S3 decrypt an object encrypted with a key of the customer's (SSE-C).

    Raises:
        ValueError, TypeError: the key is not 32 bytes, as AES-256 wants.
    """
    if customer_key is None:
        return ()
    if not isinstance(customer_key, (bytes, bytearray, memoryview)):
        raise TypeError(f"sse_customer_key takes bytes, not {type(customer_key).__name__}")
    if len(customer_key) != 32:
        raise ValueError(f"sse_customer_key takes 32 bytes (AES-256), not {len(customer_key)}")
    prefix = "x-amz-server-side-encryption-customer-"
    digest = hashlib.md5(customer_key, usedforsecurity=False).digest()
    return (
        (prefix + "algorithm", "AES256"),
        (prefix + "key", base64.b64encode(customer_key).decode()),
        (prefix + "key-MD5", base64.b64encode(digest).decode()),
    )


class Route:
    """Where requests that differ in their key only go, and what they are sent and signed with.

    Args:
        target: what they have in common of where they go.
        query: of all of them.
        headers: those that all of them send.
        signer: None for unsigned requests.
        made_with: what they are signed with.
        made: monotonic time this was put together.
        sign_again: monotonic time from which the signatures must not be used.
    """

    __slots__ = (
        "_lines",
        "_made_with",
        "_path",
        "_query",
        "_sign_again",
        "_signer",
        "_url",
        "epoch",
        "stale",
    )

    def __init__(
        self,
        target: Target,
        query: str,
        headers: list[tuple[str, str]],
        signer: PathSigner | None,
        made_with: MadeWith,
        made: float,
        sign_again: float,
    ) -> None:
        self.epoch = made_with.epoch
        self.stale = min(made + ROUTE_LIFETIME, sign_again)
        self._path = target.path
        self._url = target.url
        self._query = f"?{query}" if query else ""
        self._lines = HeaderLines(headers)
        self._signer = signer
        self._made_with = made_with
        self._sign_again = sign_again

    def sign(self, key: str | None) -> SignedRequest:
        """The request for an object, or for the bucket itself."""
        tail = "" if key is None else quote_key(key)
        signer = self._signer
        return SignedRequest(
            f"{self._url}{tail}{self._query}".encode("ascii"),
            self._lines,
            self._sign_again,
            self._made_with,
            None if signer is None else signer.authorization(self._path + tail),
        )


class Signer:
    """Says where a client's requests go and signs them.

    Any thread may call it. What is learned from answers (a bucket's region, the server's clock, a
    refused token) raises the epoch, and with it every signature made before is out of date.
    """

    def __init__(
        self,
        region: str | None,
        endpoint: str | None,
        config: S3ClientConfig,
        environ: Mapping[str, str],
    ) -> None:
        self.endpoints = EndpointResolver(region, endpoint, config, environ)
        self._credentials = resolve_credentials(config, environ)
        self._regions: dict[str, str] = {}
        self._routes: dict[tuple[Any, ...], Route] = {}
        self._clock_offset = 0.0
        self._epoch = 0
        self._lock = threading.Lock()

    def after_fork(self) -> None:
        """Forget a lock that another thread of the parent may have held."""
        self._lock = threading.Lock()

    def sign(self, request: Request) -> SignedRequest:
        """Sign a request unless its signature is still fresh; may block while credentials come."""
        signed = request.signed
        if signed is not None and time.monotonic() < signed.sign_again:
            made_with: MadeWith = signed.made_with
            if made_with.epoch == self._epoch:
                return signed
        return self.sign_anew(request)

    def sign_anew(self, request: Request) -> SignedRequest:
        """Sign a request with what is known now; may block while credentials come."""
        now = time.monotonic()
        shared = (request.operation, request.bucket, request.query, request.headers)
        route = self._routes.get(shared)
        if route is None or route.epoch != self._epoch or now >= route.stale:
            route = self._new_route(request, now)
            if len(self._routes) >= MOST_ROUTES:
                self._routes.clear()
            self._routes[shared] = route
        signed = request.signed = route.sign(request.key)
        return signed

    def _new_route(self, request: Request, now: float) -> Route:
        epoch = self._epoch
        target = self._target(request)
        credentials = self._credentials_for(request)
        headers = list(request.headers)
        signer = None
        sign_again = FOREVER
        if credentials is not None:
            sign_again = now + SIGNATURE_LIFETIME
            if credentials.expires_at is not None:
                sign_again = min(sign_again, now + max(1.0, credentials.expires_at - time.time()))
            signer = PathSigner(
                request.method,
                target.host,
                request.query,
                headers,
                credentials.access_key,
                credentials.secret_key,
                credentials.token,
                target.region,
                time.time() + self._clock_offset,
            )
            headers = signer.headers
        made_with = MadeWith(credentials, target.region, epoch)
        return Route(target, request.query, headers, signer, made_with, now, sign_again)

    def _credentials_for(self, request: Request) -> Credentials | None:
        try:
            return self._credentials.get()
        except NoCredentialsError as error:
            error.bucket, error.key = request.bucket, request.key
            error.operation = request.operation
            raise

    def _target(self, request: Request) -> Target:
        region = self._regions.get(request.bucket)
        if request.key is None:
            return self.endpoints.bucket(request.bucket, region)
        return self.endpoints.objects(request.bucket, region)

    def refuse_credentials(self, credentials: Credentials | None) -> None:
        """Take note that S3 did not accept the token of these credentials."""
        if credentials is not None:
            self._credentials.invalidate(credentials)
        self._next_epoch()

    @staticmethod
    def takes_clock(server_time: float) -> bool:
        """Whether requests can be signed for a time: a server named it, which may not even be S3"""
        earliest, latest = BELIEVABLE_TIMES
        return earliest <= server_time <= latest

    def clock_is_off(self, server_time: float | None) -> bool:
        """Whether requests are signed by a clock that S3 would not accept."""
        if server_time is None or not self.takes_clock(server_time):
            return False
        return abs(server_time - time.time() - self._clock_offset) > MAX_CLOCK_SKEW

    def set_clock(self, server_time: float) -> None:
        """Sign by the server's clock, in seconds since the epoch, from now on."""
        self._clock_offset = server_time - time.time()
        self._next_epoch()

    def takes_region(self, region: str | None) -> bool:
        """Whether requests can go to a region: a server named it, which may not even be S3."""
        return region is not None and self.endpoints.follows_to(region)

    def set_region(self, bucket: str, region: str) -> None:
        """Take note of where a bucket is."""
        self._regions[bucket] = region
        self._next_epoch()

    def _next_epoch(self) -> None:
        with self._lock:
            self._epoch += 1
