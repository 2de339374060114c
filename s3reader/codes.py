"""S3 error codes that mean the same thing, for the error table and the retry policy alike.

From the list of error codes in the S3 API reference, with those of services that imitate it.
"""

from __future__ import annotations

THROTTLE = frozenset(
    {
        "BandwidthLimitExceeded",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
    }
)
"""Fewer requests, please."""

STALE_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidToken",
        "InvalidTokenId",
        "TokenRefreshRequired",
    }
)
"""Fresh credentials from the same source can cure it."""

OTHER_REGION = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "PermanentRedirect",
        "Redirect",
        "TemporaryRedirect",
    }
)
"""The bucket belongs to another region than the one asked or signed for."""
