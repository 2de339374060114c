"""A server's own words: the XML body of an error answer, and how much of such text may be quoted.

S3 explains an error in a small XML document. It comes from the network, possibly from something
that is not S3 at all, so it is read with a bound on its size, without document types or entities,
and never raises: what cannot be understood is None. Quoted text goes through `clean_text`, which
keeps secrets, query strings and control characters out of messages and logs.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import NamedTuple
from xml.parsers import expat

# S3's own error bodies are under 2 KiB; whatever follows this cannot be one.
_BODY_LIMIT = 64 * 1024

# Longest value kept of one element; host ids are the longest with about 80 characters.
_FIELD_LIMIT = 2048

# Longest quotation in a message; S3's own sentences are under 200 characters.
_QUOTE_LIMIT = 300

# A region becomes part of a host name, so nothing else than a region's alphabet may pass.
_REGION = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class ErrorBody(NamedTuple):
    """What an error answer's body says; None where it says nothing."""

    code: str | None = None
    message: str | None = None
    region: str | None = None
    """Where the bucket is (PermanentRedirect, AuthorizationHeaderMalformed)."""
    endpoint: str | None = None
    """The host to ask instead (PermanentRedirect, TemporaryRedirect)."""
    actual_size: int | None = None
    """The object's size in bytes (InvalidRange)."""
    server_time: float | None = None
    """The server's clock in seconds since the epoch (RequestTimeTooSkewed)."""
    request_id: str | None = None
    host_id: str | None = None


class _Refused(Exception):
    """The document declares a type: not an S3 error."""


class _ErrorParser:
    """Collects the text of the elements directly below `<Error>`, in any namespace."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self._path: list[str] = []
        self._text: list[str] = []
        self._length = 0
        self._expat = expat.ParserCreate(namespace_separator=" ")
        self._expat.StartElementHandler = self._on_start
        self._expat.EndElementHandler = self._on_end
        self._expat.CharacterDataHandler = self._on_text
        self._expat.StartDoctypeDeclHandler = self._on_doctype

    def feed(self, body: bytes) -> None:
        """Reads as much of `body` as is well-formed."""
        try:
            self._expat.Parse(body, False)
        except (expat.ExpatError, _Refused, ValueError, LookupError):
            # ValueError and LookupError: a declared encoding that Python lacks or cannot use.
            return

    def _on_start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name.rpartition(" ")[2])
        self._text = []
        self._length = 0

    def _on_end(self, name: str) -> None:
        element = self._path.pop()
        text = "".join(self._text).strip()
        if text and self._path[-1:] == ["Error"]:
            self.fields.setdefault(element, text)
        self._text = []

    def _on_text(self, text: str) -> None:
        if self._length < _FIELD_LIMIT:
            self._text.append(text[: _FIELD_LIMIT - self._length])
            self._length += len(text)

    def _on_doctype(self, *declaration: object) -> None:
        raise _Refused


def parse_error_body(body: bytes) -> ErrorBody:
    """What the error answer `body` says. Never raises; looks at its first 64 KiB."""
    parser = _ErrorParser()
    parser.feed(bytes(body[:_BODY_LIMIT]))
    fields = parser.fields
    return ErrorBody(
        code=fields.get("Code"),
        message=fields.get("Message"),
        region=_region(fields.get("Region") or fields.get("BucketRegion")),
        endpoint=fields.get("Endpoint"),
        actual_size=_size(fields.get("ActualObjectSize")),
        server_time=_time(fields.get("ServerTime")),
        request_id=fields.get("RequestId"),
        host_id=fields.get("HostId"),
    )


def _region(text: str | None) -> str | None:
    return text if text and _REGION.fullmatch(text) else None


def _size(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def _time(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None


_HIDDEN: tuple[tuple[re.Pattern[str], str], ...] = (
    # A URL's user and password, then its query, which may be a presigned signature.
    (re.compile(r"(\w+://)[^\s/?#]*@"), r"\1"),
    (re.compile(r"(\w+://[^\s?]*)\?\S*"), r"\1"),
    # Signed headers and parameters, and anything called a secret: nothing after it is quoted.
    (re.compile(r"(?i)(?:x-amz-[\w-]+\s*[=:]|AWS4-HMAC-SHA256|bearer\s|basic\s).*"), "…"),
    (
        re.compile(
            r"(?i)([\w-]*(?:secret|token|signature|password|credential|authorization)[\w-]*"
            r"(?:\s?key)?[\"']?\s*[=:]).*"
        ),
        r"\1 …",
    ),
)


def clean_text(text: str) -> str:
    """`text` as one short printable line without what may be secret, fit for a message or a log."""
    line = printable(" ".join(text[: 4 * _QUOTE_LIMIT].split()))
    for pattern, shown in _HIDDEN:
        line = pattern.sub(shown, line)
    return line if len(line) <= _QUOTE_LIMIT else line[: _QUOTE_LIMIT - 1] + "…"


def printable(text: str) -> str:
    """`text` with control characters and the like written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
