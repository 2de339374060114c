"""Judges what came back of a transfer that did not simply give its bytes.

The I/O thread reports such transfers; the session's supervising thread asks a :class:`Judge`,
which describes the report to the pure retry policy, carries out the correction that the policy
names (fresh credentials, the server's clock, the bucket's region) and says what is to become of
the transfer.
"""

from __future__ import annotations

import logging
import random
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s3reader._ext.check import describe, transport_cause
from s3reader._ext.transfer import Transfer, faults

from .errors import S3Exception, error_from_response, error_from_transport, parse_error_body
from .results import parse_headers, parse_http_date
from .retry import Action, Outcome, Progress, RetryPolicy, Verdict

if TYPE_CHECKING:
    from .error_body import ErrorBody
    from .request import MadeWith, Request, Signer

_log = logging.getLogger("s3reader")

PAGE_START = 500
"""Bytes of an answer that is no S3 error in which its reason is looked for."""

_MARKUP = re.compile(r"(?s)<(style|script)\b.*?(</\1>|$)|<[^>]*(>|$)")

_CAUSES = {
    faults[name]: name
    for name in (
        "short_body",
        "long_body",
        "bad_range",
        "changed",
        "bad_response",
        "too_large",
        "first_byte_timeout",
        "stall_timeout",
    )
}


@dataclass
class Trail:
    """What was already tried for one transfer."""

    began: float
    received: int = 0
    attempts: int = 0
    total_attempts: int = 0
    refreshed: bool = False
    clock_fixed: bool = False
    region_changed: bool = False


@dataclass(frozen=True)
class Retry:
    """Put it back after ``delay`` seconds; ``reason`` is None where nothing failed."""

    delay: float
    reason: str | None


@dataclass(frozen=True)
class Empty:
    """The object has ``total`` bytes and the range none of them."""

    total: int


class Judge:
    """Decides about reported transfers of one client. One thread at a time."""

    def __init__(self, policy: RetryPolicy, signer: Signer) -> None:
        self._policy = policy
        self._signer = signer

    def decide(self, transfer: Transfer) -> Retry | Empty | S3Exception:
        """What is to become of a reported transfer."""
        fault = transfer.fault
        if fault == faults["stale_signature"]:
            return Retry(0.0, None)
        if fault == faults["no_memory"]:
            raise MemoryError("no memory for a part of the object; lower memory_limit or part_size")
        request: Request = transfer.request
        trail = self._trail(transfer)
        headers = parse_headers(transfer.head) if transfer.status else {}
        body = parse_error_body(transfer.text)
        empty = self._past_the_end(transfer, body)
        if empty is not None:
            return empty
        outcome = self._outcome(transfer, headers, body)
        verdict = self._policy.judge(
            outcome,
            Progress(
                attempts=trail.attempts,
                since_progress=time.monotonic() - (transfer.progress or time.monotonic()),
                refreshed=trail.refreshed,
                clock_fixed=trail.clock_fixed,
                region_changed=trail.region_changed,
            ),
            random.random,
        )
        if not self._correct(verdict, transfer, trail, outcome, headers, body):
            return self._error(transfer, outcome, headers, body, trail)
        _log.debug(
            "%s s3://%s/%s: %s, attempt %d, again in %.2f s",
            request.operation,
            request.bucket,
            request.key or "",
            verdict.reason,
            trail.attempts,
            verdict.delay,
        )
        return Retry(verdict.delay, verdict.reason)

    @staticmethod
    def _trail(transfer: Transfer) -> Trail:
        trail: Trail | None = transfer.notes
        if trail is None:
            trail = transfer.notes = Trail(began=transfer.progress or time.monotonic())
        if transfer.received > trail.received:
            trail.received = transfer.received
            trail.attempts = 0
        trail.attempts += 1
        trail.total_attempts += 1
        return trail

    @staticmethod
    def _past_the_end(transfer: Transfer, body: ErrorBody) -> Empty | None:
        """A range of an object whose size was not known may lie past its end: then it is empty."""
        if transfer.status != 416 or transfer.received or transfer.total is not None:
            return None
        total = _told_total(transfer, body)
        start = transfer.start
        if total is None and not start:
            total = 0  # a range from the first byte, or a suffix, is refused only where none is
        if total is None or (start is not None and start < total) or (start is None and total):
            return None
        return Empty(total)

    def _outcome(self, transfer: Transfer, headers: dict[str, str], body: ErrorBody) -> Outcome:
        cause: str | None = None
        if transfer.fault == faults["transport"]:
            cause = transport_cause(transfer.result)
            if transfer.proxy_status is not None and transfer.proxy_status >= 300:
                cause = "proxy"  # libcurl's code for it says no more than "not connected"
        elif transfer.fault != faults["status"]:
            cause = _CAUSES[transfer.fault]
        elif transfer.status == 416 and transfer.total not in (None, _told_total(transfer, body)):
            # A server that looks at no If-Match, and an object that has become shorter.
            cause = "changed" if _told_total(transfer, body) is not None else None
        retry_after = headers.get("retry-after", "")
        region = self._region(headers, body)
        code = body.code or self._implied_code(transfer.status, headers)
        return Outcome(
            status=transfer.status,
            code=code,
            cause=cause,
            retry_after=float(retry_after) if retry_after.isdecimal() else None,
            region=region if region != _made_with(transfer).region else None,
        )

    def _implied_code(self, status: int | None, headers: dict[str, str]) -> str | None:
        """The code that an answer without a body, such as that to HEAD, would have had."""
        if status == 412:
            return "PreconditionFailed"
        if status == 403 and self._signer.clock_is_off(parse_http_date(headers.get("date"))):
            return "RequestTimeTooSkewed"
        return None

    def _region(self, headers: dict[str, str], body: ErrorBody) -> str | None:
        """Where the bucket is, if the answer says so in a way that can be true."""
        region = headers.get("x-amz-bucket-region") or body.region
        return region if self._signer.takes_region(region) else None

    def _correct(
        self,
        verdict: Verdict,
        transfer: Transfer,
        trail: Trail,
        outcome: Outcome,
        headers: dict[str, str],
        body: ErrorBody,
    ) -> bool:
        """Carry out what the verdict names; False where the transfer failed for good."""
        if verdict.action is Action.REFRESH_CREDENTIALS:
            trail.refreshed = True
            self._signer.refuse_credentials(_made_with(transfer).credentials)
        elif verdict.action is Action.FIX_CLOCK:
            trail.clock_fixed = True
            now = body.server_time or parse_http_date(headers.get("date"))
            if now is None or not self._signer.takes_clock(now):
                return False
            self._signer.set_clock(now)
        elif verdict.action is Action.CHANGE_REGION:
            trail.region_changed = True
            if outcome.region is None:
                return False
            self._signer.set_region(transfer.request.bucket, outcome.region)
        return verdict.action is not Action.FAIL

    def _error(
        self,
        transfer: Transfer,
        outcome: Outcome,
        headers: dict[str, str],
        body: ErrorBody,
        trail: Trail,
    ) -> S3Exception:
        request: Request = transfer.request
        start, stop = transfer.start, transfer.stop
        located = request.operation == "GetObject" and start is not None and stop is not None
        hide = _made_with(transfer).hide
        context: dict[str, Any] = {
            "code": hide(outcome.code),
            "bucket": request.bucket,
            "key": request.key,
            "operation": request.operation,
            "range": (start, stop) if located else None,
            "request_id": hide(headers.get("x-amz-request-id") or body.request_id),
            "host_id": hide(headers.get("x-amz-id-2") or body.host_id),
            "attempts": trail.total_attempts,
            "elapsed": time.monotonic() - trail.began,
        }
        if outcome.cause is None and outcome.status is not None:
            return error_from_response(
                status=outcome.status,
                detail=hide(body.message or _words(transfer.text)),
                region=hide(self._region(headers, body)),
                **context,
            )
        cause = outcome.cause or "bad_response"
        detail = hide(_detail(transfer, outcome.cause, _told_total(transfer, body)))
        return error_from_transport(cause, detail, status=outcome.status, **context)


def _made_with(transfer: Transfer) -> MadeWith:
    """What the reported attempt was signed with; others may have been signed anew since."""
    assert transfer.signed is not None
    made_with: MadeWith = transfer.signed.made_with
    return made_with


def _told_total(transfer: Transfer, body: ErrorBody) -> int | None:
    """The object's size, as the answer tells it in its Content-Range or, of an error, its body."""
    return body.actual_size if transfer.head_total is None else transfer.head_total


def _detail(transfer: Transfer, cause: str | None, total: int | None) -> str:
    """Expected and received values, or libcurl's words."""
    start, stop = transfer.start, transfer.stop
    fault = transfer.fault
    if fault == faults["changed"] and transfer.etag and transfer.etag != transfer.head_etag:
        return f"expected ETag {transfer.etag}, received {transfer.head_etag or 'none'}"
    if cause == "changed":
        return f"expected {transfer.total} bytes, received an object of {total}"
    if cause in ("short_body", "long_body") and start is not None and stop is not None:
        total = transfer.head_total
        expected = (stop if total is None else min(stop, total)) - start
        announced = parse_headers(transfer.head).get("content-length", "more")
        got = announced if cause == "long_body" else transfer.received
        return f"expected {expected} bytes, received {got}"
    if fault == faults["bad_range"]:
        content_range = parse_headers(transfer.head).get("content-range", "none")
        wanted = "the last bytes" if start is None else f"bytes {start + transfer.received}-"
        if start is not None and stop is not None:
            wanted += str(stop - 1)
        return (
            f"expected {wanted}, received status {transfer.status}, Content-Range {content_range}"
        )
    if fault != faults["transport"]:
        return ""  # it was the library that gave up, and libcurl tells about the giving up
    return transfer.message or describe(transfer.result)


def _words(text: bytes) -> str | None:
    """What a page for people says, such as a proxy's or another server's; it holds no S3 error."""
    words = _MARKUP.sub(" ", text[:PAGE_START].decode("utf-8", "replace"))
    return " ".join(words.split()) or None
