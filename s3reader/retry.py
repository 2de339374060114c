"""What to do after a request that did not give its bytes: a pure policy, without clock or I/O.

The client describes what came back (`Outcome`) and what it has already tried (`Progress`); the
policy gives one `Verdict`. It draws its jitter from a function it is handed, so equal input gives
an equal verdict and every rule can be tested without waiting.

Two kinds of second chances exist. A *retry* repeats the same request after a delay and counts
towards `max_attempts`; a response that brought new bytes starts the count again, which the caller
does. A *correction* (fresh credentials, the server's clock, the bucket's region) changes the
request, is sent at once, and happens at most once each, whatever `max_attempts` says. Neither goes
on past `retry_timeout` seconds without a new byte.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from . import codes

BACKOFF_BASE = 0.1
"""Seconds: ceiling of the first delay, doubled on each further attempt. A new connection may well
reach another server, so the first retry comes soon."""

THROTTLE_BASE = 0.5
"""Seconds: the same after throttling, where coming back soon makes things worse."""

BACKOFF_CAP = 20.0
"""Seconds: most that a delay's ceiling grows to, as in the AWS SDKs."""

RETRY_AFTER_CAP = 60.0
"""Seconds: most that a server's Retry-After is believed."""


class Action(enum.Enum):
    """What the client does next."""

    RETRY = "retry"
    FAIL = "fail"
    REFRESH_CREDENTIALS = "refresh_credentials"
    FIX_CLOCK = "fix_clock"
    CHANGE_REGION = "change_region"


@dataclass(frozen=True)
class Outcome:
    """What came back.

    Args:
        status: HTTP status, None if there was no answer.
        code: S3's error code, None without a body that tells.
        cause: what happened to the connection or body, one of `errors.CAUSES`; None if the answer
            arrived whole. It outweighs `status`.
        retry_after: seconds of the Retry-After header.
        region: the bucket's region, if the answer names one.
    """

    status: int | None = None
    code: str | None = None
    cause: str | None = None
    retry_after: float | None = None
    region: str | None = None


@dataclass(frozen=True)
class Progress:
    """What was tried.

    Args:
        attempts: requests sent since the last new byte, at least 1.
        since_progress: seconds since the last new byte, or since the start.
        refreshed, clock_fixed, region_changed: corrections already made.
    """

    attempts: int = 1
    since_progress: float = 0.0
    refreshed: bool = False
    clock_fixed: bool = False
    region_changed: bool = False


@dataclass(frozen=True)
class Verdict:
    """The policy's answer.

    Args:
        action: what to do.
        delay: seconds to wait before it; 0 unless `action` is RETRY.
        reason: key for statistics: "throttle", "server_error", "timeout", "connection",
            "incomplete", "expired_token", "clock", "region"; "fatal" for what no retry can cure. A
            FAIL with another reason than "fatal" gave up on something that might have passed.
    """

    action: Action
    delay: float
    reason: str


class _Rule(NamedTuple):
    reason: str
    base: float = BACKOFF_BASE
    # Fewer attempts than max_attempts, for what is rarely cured by trying again.
    attempts: int | None = None


_THROTTLE = _Rule("throttle", THROTTLE_BASE)
_SERVER_ERROR = _Rule("server_error")
_TIMEOUT = _Rule("timeout")

# Causes that are not here fail at once. "certificate" will not become trusted; "changed",
# "bad_range" and "long_body" are wrong bytes, which a second answer does not explain away;
# "too_large" stays so; "interrupted" is the user's wish.
_BY_CAUSE: Mapping[str, _Rule] = {
    # Resolvers do not say whether a name is unknown or its server was busy; a cluster's DNS is at
    # times, a misspelt endpoint always.
    "resolve": _Rule("connection", attempts=5),
    "connect": _Rule("connection"),
    "connect_timeout": _TIMEOUT,
    "first_byte_timeout": _TIMEOUT,
    "stall_timeout": _TIMEOUT,
    "reset": _Rule("connection"),
    # A connection reset within the handshake looks the same as two sides that cannot agree.
    "tls": _Rule("connection", attempts=3),
    "proxy": _Rule("connection", attempts=3),
    "short_body": _Rule("incomplete"),
    "bad_response": _Rule("connection"),
}

_BY_CODE: Mapping[str, _Rule] = {
    "InternalError": _SERVER_ERROR,
    # S3 sends this one with status 400.
    "RequestTimeout": _TIMEOUT,
    **dict.fromkeys(codes.THROTTLE, _THROTTLE),
}

_BY_STATUS: Mapping[int, _Rule] = {
    408: _TIMEOUT,
    429: _THROTTLE,
    # S3's answer to too many requests; to HEAD it comes without a code.
    503: _THROTTLE,
    504: _TIMEOUT,
}

_PERMANENT_5XX = frozenset({501, 505})
_REDIRECTS = frozenset({301, 302, 307, 308})


class RetryPolicy:
    """Judges failed requests.

    Args:
        max_attempts: how often one request is sent in all, at least 1.
        retry_timeout: seconds that retries go on without a new byte; None for no limit.
    """

    def __init__(self, max_attempts: int, retry_timeout: float | None) -> None:
        self.max_attempts = max_attempts
        self.retry_timeout = retry_timeout

    def judge(self, outcome: Outcome, progress: Progress, random: Callable[[], float]) -> Verdict:
        """The verdict on `outcome`; `random` gives numbers from 0 to 1 for the jitter."""
        correction = _correction(outcome, progress)
        if correction is not None:
            if self._remaining(progress) <= 0:
                return Verdict(Action.FAIL, 0.0, correction.reason)
            return correction
        rule = _rule(outcome)
        if rule is None:
            return Verdict(Action.FAIL, 0.0, "fatal")
        return self._retry(rule, outcome, progress, random)

    def _retry(
        self, rule: _Rule, outcome: Outcome, progress: Progress, random: Callable[[], float]
    ) -> Verdict:
        limit = (
            self.max_attempts if rule.attempts is None else min(rule.attempts, self.max_attempts)
        )
        remaining = self._remaining(progress)
        asked = _believed(outcome.retry_after)
        if progress.attempts >= limit or remaining <= asked:
            return Verdict(Action.FAIL, 0.0, rule.reason)
        # Full jitter, and on top of what the server asked, lest all its clients return at once.
        delay = asked + random() * _ceiling(rule.base, progress.attempts)
        return Verdict(Action.RETRY, min(delay, remaining), rule.reason)

    def _remaining(self, progress: Progress) -> float:
        if self.retry_timeout is None:
            return float("inf")
        return self.retry_timeout - progress.since_progress


def _correction(outcome: Outcome, progress: Progress) -> Verdict | None:
    """A changed request that could succeed, or a failure if that change was already made."""
    if outcome.cause is not None:
        return None
    if outcome.code in codes.STALE_CREDENTIALS:
        return _once(Action.REFRESH_CREDENTIALS, "expired_token", progress.refreshed)
    if outcome.code == "RequestTimeTooSkewed":
        return _once(Action.FIX_CLOCK, "clock", progress.clock_fixed)
    if outcome.region is not None and _blames_region(outcome):
        return _once(Action.CHANGE_REGION, "region", progress.region_changed)
    if outcome.status == 400 and outcome.code is None:
        # HEAD has no body to say so, but this is how it reports an expired token.
        return _once(Action.REFRESH_CREDENTIALS, "expired_token", progress.refreshed)
    return None


def _blames_region(outcome: Outcome) -> bool:
    if outcome.code in codes.OTHER_REGION or outcome.status in _REDIRECTS:
        return True
    return outcome.status == 400 and outcome.code is None


def _once(action: Action, reason: str, done: bool) -> Verdict:
    return Verdict(Action.FAIL, 0.0, "fatal") if done else Verdict(action, 0.0, reason)


def _rule(outcome: Outcome) -> _Rule | None:
    if outcome.cause is not None:
        return _BY_CAUSE.get(outcome.cause)
    if outcome.code is not None and outcome.code in _BY_CODE:
        return _BY_CODE[outcome.code]
    status = outcome.status
    if status is None or status in _PERMANENT_5XX:
        return None
    return _BY_STATUS.get(status, _SERVER_ERROR if 500 <= status <= 599 else None)


def _believed(retry_after: float | None) -> float:
    # Written so that a NaN, too, counts as nothing.
    if retry_after is None or not retry_after > 0:
        return 0.0
    return min(retry_after, RETRY_AFTER_CAP)


def _ceiling(base: float, attempts: int) -> float:
    # The exponent is bounded because a float's is: far past the cap, 2.0 ** n would overflow.
    return min(BACKOFF_CAP, base * 2.0 ** min(max(attempts - 1, 0), 32))
