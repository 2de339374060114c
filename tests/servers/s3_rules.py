"""WSGI middleware that holds moto to S3's rules where moto is laxer than S3, or wrong.

Found by sending moto 5.2.5 real requests; the S3 API reference and the SigV4 documentation say
what S3 does. Corrected here:

* **Signatures.** Moto recomputes a signature over the path and query as they were sent. S3
  decodes them, encodes them its own way (RFC 3986 unreserved characters and ``/`` stay, all
  else is ``%XX`` with capitals; the query's ``/`` too) and compares with that. A client that
  signs what it sends, but sends ``!`` or ``%7e`` raw, passes moto and fails S3: not here. A path
  with two leading slashes (virtual-host addressing, a key that begins with one) is signed as it
  is; moto drops its first segment.
* **Anonymous requests.** With authentication on, moto fails with 500 when a request carries no
  ``Authorization``. S3 serves what is public and refuses the rest. A refusal has S3's
  ``AccessDenied`` body (moto sends an empty one).
* **Clock.** ``x-amz-date`` more than 15 minutes off is ``403 RequestTimeTooSkewed``.
* **Region.** A bucket is only served to a signature made for its region; otherwise
  ``400 AuthorizationHeaderMalformed`` naming the right one, in the body and in
  ``x-amz-bucket-region``. Moto takes any region.
* **Keys** longer than 1024 bytes are ``400 KeyTooLongError``.
* **Request ids.** ``x-amz-request-id`` and ``x-amz-id-2`` go with every response.
* **Listings** with ``encoding-type=url`` write a space as ``+``, as S3 does, not ``%20``.
* **If-Match** ``*`` matches every object that exists (moto: 412).
* **Refused HEADs** (412, 416, ...) tell nothing of the object; moto sends its whole description.
* **206** carries no whole-object checksum headers, whatever the range.

Checked and found right, so left alone: 416 ``InvalidRange`` with ``ActualObjectSize`` and no
``Content-Range``, for ranges past the end and for every first-byte range of an empty object; 200
without data for a suffix range of an empty object; ``If-Match`` judged before the range; ``ETag``
and ``Content-Range`` in 206; unparsable and multiple ranges answered with the whole object; keys
with dot segments, ``//``, a leading ``/``, reserved characters, and any Unicode.

Known and left: a newline in a key is 404 in moto; with virtual-host addressing a key of slashes
alone is taken for the bucket.
"""

from __future__ import annotations

import re
import secrets
import time
from calendar import timegm
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit
from xml.sax.saxutils import escape

from moto.s3.responses import S3Response

Headers = list[tuple[str, str]]
WSGIApp = Callable[[dict[str, Any], Any], Iterable[bytes]]

MAX_KEY_BYTES = 1024
MAX_CLOCK_SKEW = 15 * 60  # seconds
SCOPE = re.compile(r"Credential=[^/]+/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")
LOCATION = re.compile(rb"<LocationConstraint[^>]*>\s*([a-z0-9-]+)\s*</LocationConstraint>")
PLAIN_HOSTS = re.compile(r"^(localhost|[0-9.]+|s3[.-][^/]*amazonaws\.com[a-z.]*)(:\d+)?$")


class S3Rules:
    """The middleware; `app` is moto. Safe for any number of threads."""

    def __init__(self, app: WSGIApp) -> None:
        self._app = app
        self._bucket_regions: dict[str, str] = {}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        scope = SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
        if environ["PATH_INFO"].startswith("/moto-api") or (scope and scope["service"] != "s3"):
            return self._app(environ, start_response)
        method = environ["REQUEST_METHOD"]
        bucket, key = _bucket_and_key(environ)
        refusal = self._refusal(environ, bucket, key, scope["region"] if scope else None)
        if refusal is None:
            _canonicalise(environ)
            status, headers, body = self._ask_moto(environ)
        else:
            status, headers, body = refusal
        code = int(status[:3])
        if method == "PUT" and bucket and not key and code == 200:
            location = LOCATION.search(environ["werkzeug.request_body"])
            self._bucket_regions[bucket] = location[1].decode() if location else "us-east-1"
        headers, body = _as_s3_says(environ, code, headers, body)
        start_response(status, headers)
        return [body]

    def _ask_moto(self, environ: dict[str, Any]) -> tuple[str, Headers, bytes]:
        answer: list[Any] = []
        chunks = self._app(
            environ, lambda status, headers, _=None: answer.extend((status, headers))
        )
        body = b"".join(chunks)
        return answer[0], list(answer[1]), body

    def _refusal(
        self, environ: dict[str, Any], bucket: str, key: bytes, region: str | None
    ) -> tuple[str, Headers, bytes] | None:
        """What S3 refuses before it looks for the object, or None."""
        if len(key) > MAX_KEY_BYTES:
            return _error(
                "400 Bad Request",
                "KeyTooLongError",
                "Your key is too long",
                Size=len(key),
                MaxSizeAllowed=MAX_KEY_BYTES,
            )
        if region is None:
            return None
        date = environ.get("HTTP_X_AMZ_DATE", "")
        now = time.time()
        if abs(timegm(time.strptime(date, "%Y%m%dT%H%M%SZ")) - now) > MAX_CLOCK_SKEW:
            return _error(
                "403 Forbidden",
                "RequestTimeTooSkewed",
                "The difference between the request time and the current time is too large.",
                RequestTime=date,
                ServerTime=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
                MaxAllowedSkewMilliseconds=MAX_CLOCK_SKEW * 1000,
            )
        home = self._bucket_regions.get(bucket, region)
        creating = environ["REQUEST_METHOD"] == "PUT" and not key
        if region != home and not creating:
            status, headers, body = _error(
                "400 Bad Request",
                "AuthorizationHeaderMalformed",
                f"The authorization header is malformed; the region '{region}' is wrong; "
                f"expecting '{home}'",
                Region=home,
            )
            return status, [*headers, ("x-amz-bucket-region", home)], body
        return None


def correct_authorization() -> None:
    """Moto's authorization reads the ``Authorization`` header of every request: skip it without
    one, which leaves the decision to the bucket's policy and the object's ACL. And it takes what
    stands between two leading slashes of a path for a host: give it a URL."""
    authorize = S3Response._authenticate_and_authorize_s3_action

    def authorize_signed(self: Any, *args: Any, **kwargs: Any) -> None:
        if "Authorization" not in self.headers:
            return
        path = self.raw_path
        self.raw_path = f"http://{self.headers['Host']}{path}"
        try:
            authorize(self, *args, **kwargs)
        finally:
            self.raw_path = path

    setattr(S3Response, "_authenticate_and_authorize_s3_action", authorize_signed)  # noqa: B010


def _raw_target(environ: dict[str, Any]) -> tuple[str, str]:
    """The path and query as sent. A client that takes this server for a proxy sends a URL."""
    target: str = environ["REQUEST_URI"]
    if not target.startswith("/"):
        parts = urlsplit(target)
        return parts.path or "/", parts.query
    path, _, query = target.partition("?")
    return path, query


def _bucket_and_key(environ: dict[str, Any]) -> tuple[str, bytes]:
    path = unquote_to_bytes(_raw_target(environ)[0])[1:]
    host = environ.get("HTTP_HOST", "")
    if not PLAIN_HOSTS.match(host):
        return host.partition(".s3")[0], path
    bucket, _, key = path.partition(b"/")
    return bucket.decode(), key


def _canonicalise(environ: dict[str, Any]) -> None:
    """Put S3's own encoding of path and query where moto looks when it checks a signature."""
    path, query = _raw_target(environ)
    path = quote(unquote_to_bytes(path), safe="/-_.~")
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    query = "&".join(f"{_requote(name)}={_requote(value)}" for name, _, value in pairs)
    environ["QUERY_STRING"] = query
    environ["REQUEST_URI"] = environ["RAW_URI"] = f"{path}?{query}" if query else path
    if environ.get("HTTP_IF_MATCH") == "*":
        del environ["HTTP_IF_MATCH"]


def _requote(part: str) -> str:
    return quote(unquote_to_bytes(part), safe="-_.~")


def _error(status: str, code: str, message: str, **details: object) -> tuple[str, Headers, bytes]:
    fields = {"Code": code, "Message": message, **details}
    inner = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in fields.items())
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode()
    return status, [("Content-Type", "application/xml")], body


def _as_s3_says(
    environ: dict[str, Any], code: int, headers: Headers, body: bytes
) -> tuple[Headers, bytes]:
    head = environ["REQUEST_METHOD"] == "HEAD"
    if code == 403 and not body and not head:
        _, headers, body = _error("403 Forbidden", "AccessDenied", "Access Denied")
    if code == 206:
        headers = [pair for pair in headers if not pair[0].lower().startswith("x-amz-checksum-")]
    if head and code >= 400:
        kept = ("x-amz-bucket-region", "x-amz-delete-marker", "x-amz-version-id")
        headers = [pair for pair in headers if pair[0].lower() in kept]
        headers.append(("Content-Type", "application/xml"))
    if code == 200 and "encoding-type=url" in environ["QUERY_STRING"].split("&"):
        body = body.replace(b"%20", b"+")
    request_id, host_id = secrets.token_hex(8).upper(), secrets.token_urlsafe(56)
    if code >= 400 and body.endswith(b"</Error>"):
        body = re.sub(rb"<(RequestId|HostId)>[^<]*</\1>", b"", body)
        ids = f"<RequestId>{request_id}</RequestId><HostId>{host_id}</HostId></Error>"
        body = body[: -len(b"</Error>")] + ids.encode()
    dropped = {"x-amzn-requestid", "x-amz-content-sha256", "access-control-allow-origin"}
    if not head:
        dropped.add("content-length")
    headers = [pair for pair in headers if pair[0].lower() not in dropped]
    headers += [("x-amz-request-id", request_id), ("x-amz-id-2", host_id)]
    return headers, body
