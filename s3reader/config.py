"""What a client may be told: one frozen record, checked when it is made.

A wrong value fails here, by the field's name and with what it takes, and not as a strange request
an hour later. Everything else trusts the record. It pickles with what it was given: a `credentials`
mapping is the user's own argument and travels along, what a callable returned is not kept here.
"""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Any, TypeAlias

from .credential_values import Credentials

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB

CredentialsMapping: TypeAlias = Mapping[str, Any]
CredentialsProvider: TypeAlias = Callable[[], CredentialsMapping]

# Below this a part costs more in requests than in bytes; the contract's floor.
_SMALLEST_PART = 4 * KiB

_BOOLEANS = ("unsigned", "force_path_style", "requester_pays", "checksum_mode", "hedge")
_TIMEOUTS = ("connect_timeout", "first_byte_timeout", "stall_timeout", "retry_timeout")

_PROXY = re.compile(r"(?:(?:https?|socks5h?)://)?(?:[^\s/@]*@)?[^\s/@]+/?")


@dataclass(frozen=True, repr=False)
class S3ClientConfig:
    """Settings of an `S3Client`.

    Args:
        throughput_target_gbps: gigabits per second to aim at; the number of connections follows.
        part_size: bytes of one request of a large read, from 4 KiB up. Left at 8 MiB, a read into
            a buffer chooses more by itself: up to 128 MiB, an even share for each connection.
        unsigned: send requests without a signature, for public buckets.
        force_path_style: put the bucket into the path instead of the host name.
        max_attempts: how often a request is sent before its error is raised, at least 1.
        profile: name of a profile in the shared AWS configuration.
        requester_pays: agree to pay for the requests; not with `unsigned`.
        connect_timeout: seconds to connect, TLS included; None for no limit, as in the next three.
        first_byte_timeout: seconds from the request to the answer's first byte.
        stall_timeout: seconds without a byte within an answer.
        retry_timeout: seconds a read goes on without a new byte, retries included.
        max_connections: most connections at once; None derives it from `throughput_target_gbps`.
        memory_limit: bytes in flight and buffered by the client, at least `part_size`.
        ca_bundle: file with the certificates to trust; None looks where AWS users have it.
        proxy: "http://host:port"; "" for none at all, None for what the environment says.
        credentials: a mapping with ``access_key_id``, ``secret_access_key`` and perhaps
            ``session_token`` and ``expiry_time``, or a callable that returns one and is called
            again before it expires. boto3's and botocore's names of the keys work as well.
        checksum_mode: ask S3 for the object's checksums, and verify whole objects against them.
        hedge: send a slow request a second time and take the first answer.

    Raises:
        ValueError, TypeError: a value that is impossible; the message names the field.
    """

    throughput_target_gbps: float = 10.0
    part_size: int = 8 * MiB
    unsigned: bool = False
    force_path_style: bool = False
    max_attempts: int = 10
    profile: str | None = None
    requester_pays: bool = False
    connect_timeout: float | None = field(default=10.0, kw_only=True)
    first_byte_timeout: float | None = field(default=30.0, kw_only=True)
    stall_timeout: float | None = field(default=30.0, kw_only=True)
    retry_timeout: float | None = field(default=300.0, kw_only=True)
    max_connections: int | None = field(default=None, kw_only=True)
    memory_limit: int = field(default=1 * GiB, kw_only=True)
    ca_bundle: str | os.PathLike[str] | None = field(default=None, kw_only=True)
    proxy: str | None = field(default=None, kw_only=True)
    credentials: CredentialsMapping | CredentialsProvider | None = field(
        default=None, kw_only=True, hash=False
    )
    checksum_mode: bool = field(default=True, kw_only=True)
    hedge: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        self._set("throughput_target_gbps", self._seconds_or_rate("throughput_target_gbps"))
        for name in _TIMEOUTS:
            if getattr(self, name) is not None:
                self._set(name, self._seconds_or_rate(name))
        for name in _BOOLEANS:
            if not isinstance(getattr(self, name), bool):
                raise TypeError(self._wrong(name, "takes True or False"))
        self._set("part_size", self._whole("part_size", _SMALLEST_PART))
        self._set("max_attempts", self._whole("max_attempts", 1))
        self._set("memory_limit", self._whole("memory_limit", _SMALLEST_PART))
        if self.max_connections is not None:
            self._set("max_connections", self._whole("max_connections", 1))
        if self.memory_limit < self.part_size:
            raise ValueError(
                self._wrong("memory_limit", f"takes at least part_size ({self.part_size} bytes)")
            )
        if self.requester_pays and self.unsigned:
            raise ValueError("requester_pays needs signed requests, so it excludes unsigned=True")
        self._check_text()
        self._check_credentials()

    def _check_text(self) -> None:
        if self.profile is not None:
            if not isinstance(self.profile, str):
                raise TypeError(self._wrong("profile", "takes a profile's name or None"))
            if not self.profile.strip() or not self.profile.isprintable():
                raise ValueError(self._wrong("profile", "takes a profile's name or None"))
        if self.ca_bundle is not None:
            if not isinstance(self.ca_bundle, (str, os.PathLike)):
                raise TypeError(self._wrong("ca_bundle", "takes a file's path or None"))
            path = os.fspath(self.ca_bundle)
            if not isinstance(path, str):
                raise TypeError(self._wrong("ca_bundle", "takes a path that is a str"))
            if not path or "\0" in path:
                raise ValueError(self._wrong("ca_bundle", "takes a file's path or None"))
            self._set("ca_bundle", path)
        if self.proxy is not None:
            # The value may hold a password, so these messages do not show it.
            if not isinstance(self.proxy, str):
                raise TypeError(f"proxy takes a str or None, not {type(self.proxy).__name__}")
            if self.proxy and not (self.proxy.isprintable() and _PROXY.fullmatch(self.proxy)):
                raise ValueError('proxy takes "http://host:port" (http, https, socks5 or socks5h)')

    def _check_credentials(self) -> None:
        given = self.credentials
        if isinstance(given, Mapping):
            Credentials.from_mapping(given)
            # A copy, so that a frozen record stays what it was.
            self._set("credentials", dict(given))
        elif given is not None and not callable(given):
            raise TypeError(
                "credentials takes a mapping with access_key_id and secret_access_key, a callable "
                f"that returns one, or None, not {type(given).__name__}"
            )

    def _seconds_or_rate(self, name: str) -> float:
        value = getattr(self, name)
        takes = "takes a number above 0" + (", or None for no limit" if name in _TIMEOUTS else "")
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(self._wrong(name, takes))
        number = float(value)
        if not (math.isfinite(number) and number > 0):
            raise ValueError(self._wrong(name, takes))
        return number

    def _whole(self, name: str, least: int) -> int:
        value = getattr(self, name)
        takes = f"takes a whole number from {least} up"
        if isinstance(value, bool):
            raise TypeError(self._wrong(name, takes))
        try:
            number = operator.index(value)
        except TypeError:
            raise TypeError(self._wrong(name, takes)) from None
        # The largest offset that a request's range can express in the compiled core.
        if not least <= number < 2**63:
            raise ValueError(self._wrong(name, takes))
        return number

    def _wrong(self, name: str, takes: str) -> str:
        return f"{name} {takes}, got {getattr(self, name)!r}"

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        shown = {each.name: repr(getattr(self, each.name)) for each in fields(self)}
        if self.credentials is not None:
            kind = "mapping" if isinstance(self.credentials, Mapping) else "callable"
            shown["credentials"] = f"<{kind}>"
        if self.proxy is not None:
            shown["proxy"] = repr(re.sub(r"[^/]*@", "", self.proxy))
        return f"S3ClientConfig({', '.join(f'{name}={text}' for name, text in shown.items())})"
