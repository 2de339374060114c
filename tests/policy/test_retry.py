"""The retry policy: a table of verdicts, and rules that hold for every input."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from s3reader.errors import CAUSES
from s3reader.retry import (
    BACKOFF_BASE,
    BACKOFF_CAP,
    RETRY_AFTER_CAP,
    THROTTLE_BASE,
    Action,
    Outcome,
    Progress,
    RetryPolicy,
    Verdict,
)

POLICY = RetryPolicy(10, 300.0)
FRESH = Progress(attempts=1)
REASONS = {
    "throttle",
    "server_error",
    "timeout",
    "connection",
    "incomplete",
    "expired_token",
    "clock",
    "region",
    "fatal",
}


def judge(outcome: Outcome, progress: Progress = FRESH, policy: RetryPolicy = POLICY) -> Verdict:
    return policy.judge(outcome, progress, lambda: 1.0)


@pytest.mark.parametrize(
    ("outcome", "action", "reason"),
    [
        (Outcome(500, "InternalError"), Action.RETRY, "server_error"),
        (Outcome(500), Action.RETRY, "server_error"),
        (Outcome(502), Action.RETRY, "server_error"),
        (Outcome(599), Action.RETRY, "server_error"),
        (Outcome(503, "SlowDown"), Action.RETRY, "throttle"),
        (Outcome(503, "ServiceUnavailable"), Action.RETRY, "throttle"),
        (Outcome(503), Action.RETRY, "throttle"),
        (Outcome(429), Action.RETRY, "throttle"),
        (Outcome(400, "Throttling"), Action.RETRY, "throttle"),
        (Outcome(408), Action.RETRY, "timeout"),
        (Outcome(504), Action.RETRY, "timeout"),
        (Outcome(400, "RequestTimeout"), Action.RETRY, "timeout"),
        (Outcome(501, "NotImplemented"), Action.FAIL, "fatal"),
        (Outcome(505), Action.FAIL, "fatal"),
        (Outcome(600), Action.FAIL, "fatal"),
        (Outcome(404, "NoSuchKey"), Action.FAIL, "fatal"),
        (Outcome(403, "AccessDenied"), Action.FAIL, "fatal"),
        (Outcome(403), Action.FAIL, "fatal"),
        (Outcome(412, "PreconditionFailed"), Action.FAIL, "fatal"),
        (Outcome(416, "InvalidRange"), Action.FAIL, "fatal"),
        (Outcome(400, "InvalidRequest", region="eu-west-1"), Action.FAIL, "fatal"),
        (Outcome(301), Action.FAIL, "fatal"),
        (Outcome(), Action.FAIL, "fatal"),
        (Outcome(400, "ExpiredToken"), Action.REFRESH_CREDENTIALS, "expired_token"),
        (Outcome(403, "TokenRefreshRequired"), Action.REFRESH_CREDENTIALS, "expired_token"),
        (Outcome(400), Action.REFRESH_CREDENTIALS, "expired_token"),
        (Outcome(403, "RequestTimeTooSkewed"), Action.FIX_CLOCK, "clock"),
        (Outcome(301, "PermanentRedirect", region="eu-west-1"), Action.CHANGE_REGION, "region"),
        (Outcome(301, region="eu-west-1"), Action.CHANGE_REGION, "region"),
        (Outcome(307, region="eu-west-1"), Action.CHANGE_REGION, "region"),
        (Outcome(400, region="eu-west-1"), Action.CHANGE_REGION, "region"),
        (
            Outcome(400, "AuthorizationHeaderMalformed", region="eu-west-1"),
            Action.CHANGE_REGION,
            "region",
        ),
        (Outcome(400, "ExpiredToken", region="x"), Action.REFRESH_CREDENTIALS, "expired_token"),
        (Outcome(403, "AccessDenied", region="eu-west-1"), Action.FAIL, "fatal"),
        *((Outcome(cause=name), Action.RETRY, "connection") for name in ("resolve", "connect")),
        *((Outcome(cause=name), Action.RETRY, "connection") for name in ("reset", "tls", "proxy")),
        *(
            (Outcome(cause=f"{name}_timeout"), Action.RETRY, "timeout")
            for name in ("connect", "first_byte", "stall")
        ),
        (Outcome(206, cause="short_body"), Action.RETRY, "incomplete"),
        (Outcome(cause="bad_response"), Action.RETRY, "connection"),
        *(
            (Outcome(206, cause=name), Action.FAIL, "fatal")
            for name in ("certificate", "changed", "bad_range", "long_body", "too_large")
        ),
        (Outcome(cause="interrupted"), Action.FAIL, "fatal"),
    ],
)
def test_verdict(outcome: Outcome, action: Action, reason: str) -> None:
    verdict = judge(outcome)
    assert (verdict.action, verdict.reason) == (action, reason)


@pytest.mark.parametrize(
    ("outcome", "done"),
    [
        (Outcome(400, "ExpiredToken"), Progress(refreshed=True)),
        (Outcome(400), Progress(refreshed=True)),
        (Outcome(403, "RequestTimeTooSkewed"), Progress(clock_fixed=True)),
        (Outcome(301, region="eu-west-1"), Progress(region_changed=True)),
    ],
)
def test_each_correction_is_made_once(outcome: Outcome, done: Progress) -> None:
    assert judge(outcome).action is not Action.FAIL
    assert judge(outcome, done) == Verdict(Action.FAIL, 0.0, "fatal")


def test_corrections_do_not_count_as_attempts() -> None:
    verdict = judge(Outcome(400, "ExpiredToken"), policy=RetryPolicy(1, 300.0))
    assert verdict.action is Action.REFRESH_CREDENTIALS


def test_corrections_end_with_retry_timeout() -> None:
    verdict = judge(Outcome(400, "ExpiredToken"), Progress(since_progress=300.0))
    assert verdict == Verdict(Action.FAIL, 0.0, "expired_token")


def test_ceilings_double_up_to_the_cap() -> None:
    delays = [judge(Outcome(500), Progress(n), RetryPolicy(99, None)).delay for n in range(1, 12)]
    assert delays == [min(BACKOFF_CAP, BACKOFF_BASE * 2**n) for n in range(11)]
    assert judge(Outcome(503)).delay == THROTTLE_BASE
    assert judge(Outcome(500), Progress(10**6), RetryPolicy(10**9, None)).delay == BACKOFF_CAP


def test_jitter_is_full() -> None:
    assert POLICY.judge(Outcome(500), FRESH, lambda: 0.0).delay == 0.0
    assert POLICY.judge(Outcome(500), FRESH, lambda: 0.5).delay == BACKOFF_BASE / 2


@pytest.mark.parametrize(
    ("asked", "believed"),
    [(2.0, 2.0), (1e9, RETRY_AFTER_CAP), (-1.0, 0.0), (float("nan"), 0.0), (None, 0.0)],
)
def test_retry_after_is_waited_for_within_reason(asked: float | None, believed: float) -> None:
    verdict = POLICY.judge(Outcome(503, retry_after=asked), FRESH, lambda: 0.0)
    assert verdict.delay == believed


def test_retry_after_past_the_timeout_fails_at_once() -> None:
    verdict = judge(Outcome(503, retry_after=10.0), Progress(since_progress=295.0))
    assert verdict == Verdict(Action.FAIL, 0.0, "throttle")


@pytest.mark.parametrize(("cause", "attempts"), [("resolve", 5), ("tls", 3), ("proxy", 3)])
def test_what_rarely_passes_is_tried_less_often(cause: str, attempts: int) -> None:
    assert judge(Outcome(cause=cause), Progress(attempts - 1)).action is Action.RETRY
    assert judge(Outcome(cause=cause), Progress(attempts)).action is Action.FAIL
    assert judge(Outcome(cause=cause), Progress(1), RetryPolicy(1, None)).action is Action.FAIL


def test_giving_up_keeps_the_reason() -> None:
    assert judge(Outcome(500), Progress(10)) == Verdict(Action.FAIL, 0.0, "server_error")


OUTCOMES = st.builds(
    Outcome,
    status=st.none() | st.integers(100, 699) | st.sampled_from([301, 400, 403, 500, 503]),
    code=st.none()
    | st.text(max_size=5)
    | st.sampled_from(["SlowDown", "ExpiredToken", "RequestTimeTooSkewed", "PermanentRedirect"]),
    cause=st.none() | st.sampled_from(sorted(CAUSES)),
    retry_after=st.none() | st.floats(),
    region=st.none() | st.just("eu-west-1"),
)
PROGRESSES = st.builds(
    Progress,
    attempts=st.integers(1, 2000),
    since_progress=st.floats(0, 1000),
    refreshed=st.booleans(),
    clock_fixed=st.booleans(),
    region_changed=st.booleans(),
)
POLICIES = st.builds(RetryPolicy, st.integers(1, 3000), st.none() | st.floats(0.01, 1000))
JITTERS = st.floats(0, 1)


@given(OUTCOMES, PROGRESSES, POLICIES, JITTERS)
def test_each_input_gives_one_bounded_verdict(
    outcome: Outcome, progress: Progress, policy: RetryPolicy, jitter: float
) -> None:
    verdict = policy.judge(outcome, progress, lambda: jitter)
    assert verdict == policy.judge(outcome, progress, lambda: jitter)
    assert verdict.reason in REASONS
    assert 0 <= verdict.delay <= RETRY_AFTER_CAP + BACKOFF_CAP
    if verdict.action is not Action.RETRY:
        assert verdict.delay == 0
    else:
        assert progress.attempts < policy.max_attempts
        assert verdict.reason != "fatal"
    if verdict.action is not Action.FAIL and policy.retry_timeout is not None:
        assert progress.since_progress < policy.retry_timeout
        assert verdict.delay <= policy.retry_timeout - progress.since_progress


@given(OUTCOMES, POLICIES, JITTERS)
def test_every_request_ends(outcome: Outcome, policy: RetryPolicy, jitter: float) -> None:
    assume(policy.max_attempts < 50)
    attempts, waited, corrections = 1, 0.0, set[Action]()
    while True:
        progress = Progress(
            attempts,
            waited,
            refreshed=Action.REFRESH_CREDENTIALS in corrections,
            clock_fixed=Action.FIX_CLOCK in corrections,
            region_changed=Action.CHANGE_REGION in corrections,
        )
        verdict = policy.judge(outcome, progress, lambda: jitter)
        if verdict.action is Action.FAIL:
            break
        if verdict.action is Action.RETRY:
            attempts += 1
            waited += verdict.delay
        else:
            assert verdict.action not in corrections
            corrections.add(verdict.action)
        assert attempts <= policy.max_attempts
    if policy.retry_timeout is not None:
        assert waited <= policy.retry_timeout * (1 + 1e-9)
