"""Where credentials come from, and when they are asked for again.

A client holds one `CredentialsSource` and asks it before each signature; `get` is a few attribute
reads unless something is due. Sources find their credentials at the first `get`, so making a client
costs no request and fails for no reason. After S3 said ExpiredToken the client calls `invalidate`
with what it had signed with, and only if the source still holds that is it dropped.

All threads of a process share a source: one refreshes, the others go on with what is still valid
or wait. A fork may happen in the middle of it, so each source gets a new lock in the child. A
pickled source is its configuration, and finds credentials anew in the other process.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .botocore_chain import current_credentials, find_provider
from .botocore_chain import shared_config as shared_config
from .credential_values import Credentials as Credentials
from .errors import NoCredentialsError

if TYPE_CHECKING:
    from botocore.credentials import Credentials as Provider

    from .config import S3ClientConfig

_log = logging.getLogger(__name__)

REFRESH_BEFORE = 300.0
"""Seconds before their expiry at which credentials are renewed; metadata services have the next
ones ready by then."""

RETRY_REFRESH_AFTER = 30.0
"""Seconds until an early refresh that failed is tried again."""


class CredentialsSource(Protocol):
    """Gives credentials that work now."""

    def get(self) -> Credentials | None:
        """Credentials to sign with; None to send requests unsigned. May block on a refresh."""

    def invalidate(self, used: Credentials) -> None:
        """Says that S3 refused `used`: unless it was replaced since, the next `get` asks anew."""


def resolve_credentials(
    config: S3ClientConfig, environ: Mapping[str, str] = os.environ
) -> CredentialsSource:
    """The source that `config` and the environment call for.

    In this order: unsigned; `config.credentials`; then, unless `config.profile` names a profile,
    ``AWS_ACCESS_KEY_ID`` and its companions; then botocore's chain. `environ` stands in for the
    process's environment (botocore reads its metadata settings from the process's own).

    Raises:
        ValueError, TypeError: `config.credentials` is a mapping that holds no credentials.
    """
    if config.unsigned:
        return UnsignedSource()
    given = config.credentials
    if isinstance(given, Mapping):
        return FixedSource(config)
    if given is not None:
        return RefreshingSource(
            config, lambda: Credentials.from_mapping(given(), "the credentials callable's answer")
        )
    if config.profile is None and environ.get("AWS_ACCESS_KEY_ID"):
        return RefreshingSource(config, lambda: _from_environment(environ))
    return BotocoreSource(config, environ)


def _from_environment(environ: Mapping[str, str]) -> Credentials:
    try:
        found = Credentials.from_environment(environ)
    except ValueError as exception:
        raise NoCredentialsError(
            f"The environment's AWS credentials are unusable: {exception}."
        ) from None
    if found is None:
        raise NoCredentialsError("AWS_ACCESS_KEY_ID has been removed from the environment.")
    return found


class UnsignedSource:
    """No credentials at all."""

    def get(self) -> None:
        """None: requests go unsigned."""

    def invalidate(self, used: Credentials) -> None:
        """Nothing to renew."""


class _Source(ABC):
    """A source that pickles as its configuration and shows nothing of what it holds."""

    def __init__(self, config: S3ClientConfig) -> None:
        self._config = config

    @abstractmethod
    def get(self) -> Credentials: ...

    def __reduce__(self) -> tuple[Any, ...]:
        return resolve_credentials, (self._config,)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class FixedSource(_Source):
    """The mapping in the configuration."""

    def __init__(self, config: S3ClientConfig) -> None:
        super().__init__(config)
        self._credentials = Credentials.from_mapping(config.credentials)

    def get(self) -> Credentials:
        """The same each time."""
        return self._credentials

    def invalidate(self, used: Credentials) -> None:
        """Nothing to renew: the next request fails and says what to do."""


# Sources whose locks a forked child replaces, each with whatever was in the middle of a refresh.
_live: weakref.WeakSet[_SharedSource] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for source in list(_live):
        source.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class _SharedSource(_Source):
    """A source with something to renew: one thread at a time does, under `_lock`."""

    def __init__(self, config: S3ClientConfig) -> None:
        super().__init__(config)
        # Reentrant: a provider that reads S3 through the same client must not wait for itself.
        self._lock = threading.RLock()
        _live.add(self)

    def after_fork(self) -> None:
        """Forgets, in a forked child, a lock that a thread of the parent may hold."""
        self._lock = threading.RLock()

    def invalidate(self, used: Credentials) -> None:
        """Drops `used` if it is what this source still gives."""
        with self._lock:
            self._drop(used)

    @abstractmethod
    def _drop(self, used: Credentials) -> None: ...


class RefreshingSource(_SharedSource):
    """Credentials from a function, kept until shortly before they expire.

    Args:
        load: returns fresh credentials; what it raises reaches the caller unchanged, unless those
            at hand are still good.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        config: S3ClientConfig,
        load: Callable[[], Credentials],
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(config)
        self._load = load
        self._clock = clock
        # One attribute, so that threads without the lock never see half a change.
        self._held: _Held | None = None

    def get(self) -> Credentials:
        """What is at hand, or fresh ones when due."""
        held = self._held
        if held is None or self._clock() >= held.due:
            return self._renewed(held)
        return held.credentials

    def _renewed(self, held: _Held | None) -> Credentials:
        if held is not None and held.good(self._clock()):
            # One thread pays for the refresh, the others go on.
            if not self._lock.acquire(blocking=False):
                return held.credentials
        else:
            self._lock.acquire()
        try:
            held = self._held
            if held is None or self._clock() >= held.due:
                held = self._held = self._refreshed(held)
            return held.credentials
        finally:
            self._lock.release()

    def _refreshed(self, held: _Held | None) -> _Held:
        try:
            fresh = self._load()
        except Exception as exception:
            now = self._clock()
            if held is None or not held.good(now):
                raise
            # Its text may hold anything, so only its kind is told.
            _log.warning(
                "refreshing credentials failed (%s); those at hand are still valid",
                type(exception).__name__,
            )
            return _Held(held.credentials, now + RETRY_REFRESH_AFTER)
        return _Held(fresh, _when_due(fresh, self._clock()))

    def _drop(self, used: Credentials) -> None:
        if self._held is not None and self._held.credentials == used:
            self._held = None


class _Held(NamedTuple):
    credentials: Credentials
    due: float

    def good(self, now: float) -> bool:
        expires_at = self.credentials.expires_at
        return expires_at is None or now < expires_at


def _when_due(credentials: Credentials, now: float) -> float:
    if credentials.expires_at is None:
        return float("inf")
    left = credentials.expires_at - now
    # What lives shorter than the margin is used for half its time, not asked for on each request.
    return now + (left - REFRESH_BEFORE if left > REFRESH_BEFORE else left / 2)


class BotocoreSource(_SharedSource):
    """botocore's chain, which keeps and refreshes credentials by itself once they are found."""

    def __init__(self, config: S3ClientConfig, environ: Mapping[str, str]) -> None:
        super().__init__(config)
        self._environ = environ
        self._provider: Provider | None = None
        self._current: Credentials | None = None

    def get(self) -> Credentials:
        """What botocore gives now.

        Raises:
            NoCredentialsError: nothing is found, or what is found cannot be refreshed.
        """
        provider = self._provider
        if provider is None:
            provider = self._found()
        values = current_credentials(provider, self._config.profile)
        current = self._current
        if current is None or (current.access_key, current.secret_key, current.token) != values:
            try:
                current = Credentials(*values)
            except (TypeError, ValueError) as exception:
                raise NoCredentialsError(
                    f"The AWS set-up gives unusable credentials: {exception}."
                ) from None
            self._current = current
        return current

    def _found(self) -> Provider:
        with self._lock:
            if self._provider is None:
                self._provider = find_provider(self._config.profile, self._environ)
            return self._provider

    def after_fork(self) -> None:
        """Forgets botocore's object, too: it has locks of its own."""
        super().after_fork()
        self._provider = None

    def _drop(self, used: Credentials) -> None:
        if self._current == used:
            self._current = None
            self._provider = None
