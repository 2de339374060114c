"""A request: one operation on one object or bucket, before and after it is signed.

All parts of an object share one :class:`Request`. ``Range`` and ``If-Match`` are not signed, so
one signature serves them all for as long as it is fresh; the :class:`Signer` makes a new one when
it is not, and when credentials, clock or region turned out to be others.
"""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from s3reader._ext.sigv4 import canonical_query, sign
from s3reader._ext.transfer import SignedRequest

from .credentials import Credentials, resolve_credentials
from .endpoint import EndpointResolver, Target
from .errors import NoCredentialsError

if TYPE_CHECKING:
    from .config import S3ClientConfig

SIGNATURE_LIFETIME = 300.0
"""Seconds for which a signature is used. S3 accepts it for 15 minutes, less the clocks' difference
and the time until the request arrives."""

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
        epoch = self._epoch
        target = self._target(request)
        credentials = self._credentials_for(request)
        if credentials is None:
            headers = list(request.headers)
            sign_again = FOREVER
        else:
            sign_again = now + SIGNATURE_LIFETIME
            if credentials.expires_at is not None:
                sign_again = min(sign_again, now + max(1.0, credentials.expires_at - time.time()))
            headers = sign(
                request.method,
                target.host,
                target.path,
                request.query,
                list(request.headers),
                credentials.access_key,
                credentials.secret_key,
                credentials.token,
                target.region,
                time.time() + self._clock_offset,
            )
        url = f"{target.url}?{request.query}" if request.query else target.url
        made_with = MadeWith(credentials, target.region, epoch)
        signed = SignedRequest(url.encode("ascii"), headers, sign_again, made_with)
        request.signed = signed
        return signed

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
        return self.endpoints.object(request.bucket, request.key, region)

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
