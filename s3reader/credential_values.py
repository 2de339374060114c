"""Credentials as values: what they consist of, and the spellings they come in.

A `Credentials` never shows its secret and does not pickle, so that it cannot end up in a log, a
traceback or another process by accident. Mappings come from users (`S3ClientConfig.credentials`),
from STS answers and from metadata services, each with its own names for the same four things.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, NoReturn

_NAMES: Mapping[str, tuple[str, ...]] = {
    "access_key": ("access_key_id", "aws_access_key_id", "access_key", "AccessKeyId"),
    "secret_key": ("secret_access_key", "aws_secret_access_key", "secret_key", "SecretAccessKey"),
    "token": ("session_token", "aws_session_token", "token", "SessionToken", "Token"),
    "expires_at": ("expiry_time", "expires_at", "Expiration"),
}

# What botocore, STS and metadata services put beside them.
_IGNORED = frozenset(
    {"account_id", "aws_account_id", "AccountId", "Code", "LastUpdated", "RoleArn", "Type"}
    | {"Version"}
)


@dataclass(frozen=True, repr=False)
class Credentials:
    """What a request is signed with.

    Args:
        access_key: the access key's id, which is no secret.
        secret_key: the secret access key.
        token: the session token of temporary credentials.
        expires_at: seconds since the epoch at which they stop working; None if that is not known.

    Raises:
        ValueError, TypeError: a value that cannot be one, without showing it.
    """

    access_key: str
    secret_key: str
    token: str | None = None
    expires_at: float | None = None

    def __post_init__(self) -> None:
        _check("access key id", self.access_key)
        _check("secret access key", self.secret_key)
        if self.token is not None:
            _check("session token", self.token)

    def __repr__(self) -> str:
        return f"Credentials(access_key='…{self.access_key[-4:]}')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Credentials do not pickle: pickle their source, which finds them again")

    @classmethod
    def from_mapping(cls, mapping: object, origin: str = "credentials") -> Credentials:
        """The credentials in `mapping`; `origin` says in errors where it came from.

        Keys are ``access_key_id``, ``secret_access_key``, ``session_token`` and ``expiry_time``
        (ISO 8601, a datetime, or seconds since the epoch), or the names that boto3, botocore and
        STS have for these.

        Raises:
            ValueError, TypeError: keys are unknown or missing, or values impossible.
        """
        if isinstance(mapping, Credentials):
            return mapping
        if not isinstance(mapping, Mapping):
            raise TypeError(
                f"{origin} takes a mapping with access_key_id and secret_access_key, "
                f"not {type(mapping).__name__}"
            )
        known = {name for names in _NAMES.values() for name in names} | _IGNORED
        unknown = sorted(str(name) for name in mapping if name not in known)
        if unknown:
            raise ValueError(
                f"{origin} takes access_key_id, secret_access_key, session_token and expiry_time "
                f"(or boto3's names for them), not {', '.join(unknown)}"
            )
        access_key = _pick(mapping, "access_key")
        secret_key = _pick(mapping, "secret_key")
        if not access_key or not secret_key:
            missing = "secret_access_key" if access_key else "access_key_id"
            raise ValueError(f"{origin} lacks {missing}")
        expiry = _pick(mapping, "expires_at")
        return cls(
            access_key,
            secret_key,
            _pick(mapping, "token") or None,
            None if expiry is None or expiry == "" else parse_expiry(expiry, origin),
        )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Credentials | None:
        """The credentials in ``AWS_ACCESS_KEY_ID`` and its companions; None if that is not set.

        Raises:
            ValueError: ``AWS_SECRET_ACCESS_KEY`` is missing, or a value is impossible.
        """
        access_key = environ.get("AWS_ACCESS_KEY_ID")
        if not access_key:
            return None
        secret_key = environ.get("AWS_SECRET_ACCESS_KEY")
        if not secret_key:
            raise ValueError("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not")
        # AWS_SECURITY_TOKEN is the older name, which botocore still reads.
        token = environ.get("AWS_SESSION_TOKEN") or environ.get("AWS_SECURITY_TOKEN")
        expiry = environ.get("AWS_CREDENTIAL_EXPIRATION")
        return cls(
            access_key,
            secret_key,
            token or None,
            parse_expiry(expiry, "AWS_CREDENTIAL_EXPIRATION") if expiry else None,
        )


def parse_expiry(value: object, origin: str) -> float:
    """Seconds since the epoch from ISO 8601 text, a datetime (naive ones are UTC) or a number."""
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    try:
        moment = (
            value
            if isinstance(value, datetime)
            else datetime.fromisoformat(str(value).strip().replace("Z", "+00:00"))
        )
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(
            f"{origin} takes an expiry time as ISO 8601, datetime or epoch seconds"
        ) from None


def _pick(mapping: Mapping[str, Any], field: str) -> Any:
    for name in _NAMES[field]:
        if mapping.get(name) is not None:
            return mapping[name]
    return None


def _check(what: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"credentials: the {what} must be a str, not {type(value).__name__}")
    # They travel in headers; a line break read along from a file is the usual mistake.
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(f"credentials: the {what} is empty or has blanks or control characters")
