"""A session: carries out a client's requests in this process.

It owns the fetcher (the connections and the I/O thread), the memory budget and the counts, signs
what is sent, and runs the supervising thread that decides about whatever did not go as planned,
also for prefetches that nobody is waiting for. A process that is forked finds a session without a
fetcher and makes its own at the first request.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import sys
import threading
import weakref
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from s3reader._ext import libcurl, process
from s3reader._ext.budget import Budget
from s3reader._ext.chunks import ChunkPool
from s3reader._ext.counters import Counters
from s3reader._ext.fetcher import Fetcher, FetcherClosed
from s3reader._ext.transfer import Lane, Transfer

from .config import S3ClientConfig
from .crew import Crew
from .forks import whole
from .judge import Empty, Judge, Retry
from .proxy import resolve_proxy
from .request import Request, Signer
from .retry import RetryPolicy
from .trust import resolve_ca_bundle

_log = logging.getLogger("s3reader")

EXPECTED_RATE = 70e6
"""Bytes a second that a connection to S3 is counted on for: it gives 85-90 MB/s (Amazon S3's
performance guidelines) while bytes come, but some are slower, and each waits for first bytes."""

LARGEST_PART = 128 * 1024 * 1024
"""Bytes of one request that its size is not chosen to exceed: at 90 MB/s the 25 ms until the first
byte are 2 % of its time."""

PART_UNIT = 64 * 1024
"""Chosen sizes of parts are multiples of this many bytes."""

PACED = frozenset({429, 503})
"""Statuses of throttling answers that the I/O loop itself takes note of."""

OTHER_DESCRIPTORS = 64
"""File descriptors left to the rest of the process."""

_sessions: weakref.WeakSet[Session] = weakref.WeakSet()

_copies: weakref.WeakValueDictionary[str, Session] = weakref.WeakValueDictionary()
"""Sessions that came into this process by pickle, by the identity of their original: the readers
of one client that a worker receives share its connections there too."""


class Session:
    """Signs, submits, supervises.

    Args:
        region, endpoint: as `S3Client` takes them.
        user_agent: sent with every request.
        config: the client's settings.
        environ: the process's environment, or what stands in for it.
    """

    def __init__(
        self,
        region: str | None,
        endpoint: str | None,
        user_agent: str,
        config: S3ClientConfig,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.config = config
        self.signer = Signer(region, endpoint, config, environ)
        self.counters = Counters()
        self.budget = Budget(config.memory_limit)
        self.pool = ChunkPool()
        self.closed = False
        self._arguments = (region, endpoint, user_agent, config)
        self._identity = os.urandom(16).hex()
        self._user_agent = user_agent
        self._environ = environ
        self._judge = Judge(
            RetryPolicy(config.max_attempts, config.retry_timeout),
            self.signer,
        )
        self._crew: Crew | None = None
        self._generation = process.current()
        self._lock = threading.Lock()
        _sessions.add(self)

    @property
    def crew(self) -> Crew:
        """This process's fetchers; made at first use.

        Raises:
            ValueError: the client was closed.
        """
        crew = self._crew
        if crew is not None and not self.closed:
            return crew
        with self._lock:
            if self.closed:
                process.leave()
                raise ValueError("this S3Client is closed: make a new one")
            if self._crew is None:
                # Not by a bound method: a session that nobody uses any more goes at once.
                new_fetcher = partial(_new_fetcher_of, weakref.ref(self))
                self._crew = Crew(new_fetcher, self._max_connections())
            return self._crew

    @property
    def fetcher(self) -> Fetcher:
        """This process's fetcher, or the first of several.

        Raises:
            ValueError: the client was closed.
        """
        crew = self._crew
        return crew.first if crew is not None and not self.closed else self.crew.first

    def after_fork(self) -> None:
        """Leave to the parent what is the parent's."""
        self._lock = threading.Lock()
        self._crew = None
        self.counters = Counters()
        self.pool = ChunkPool()
        self.budget = Budget(self.config.memory_limit)
        self.signer.after_fork()

    def _new_fetcher(self) -> Fetcher:
        config = self.config
        target = self.signer.endpoints.object("bucket", "key")
        trusted = resolve_ca_bundle(config, self._environ) if target.scheme == "https" else None
        fetcher = Fetcher(
            self.counters,
            self._max_connections(),
            self._user_agent,
            ca_bundle=trusted,
            proxy=resolve_proxy(config, target.scheme, target.host, self._environ),
            connect_timeout=config.connect_timeout,
            first_byte_timeout=config.first_byte_timeout,
            stall_timeout=config.stall_timeout,
            hedge=config.hedge,
        )
        threading.Thread(
            target=_supervise,
            args=(fetcher, weakref.ref(self)),
            name="s3reader-supervisor",
            daemon=True,
        ).start()
        return fetcher

    def _max_connections(self) -> int:
        wanted = self.config.max_connections
        if wanted is None:
            bytes_a_second = self.config.throughput_target_gbps * 1e9 / 8
            wanted = max(1, math.ceil(bytes_a_second / EXPECTED_RATE))
        allowed = max(1, _descriptor_limit() - OTHER_DESCRIPTORS)
        if wanted > allowed:
            _log.warning(
                "%d connections wanted, %d possible: raise the limit of open files (ulimit -n)",
                wanted,
                allowed,
            )
        return min(wanted, allowed)

    def part_size(self, length: int, largest: int = LARGEST_PART, own: int | None = None) -> int:
        """Bytes of each request of a read of ``length`` bytes.

        A part_size of the user's own is kept to. Otherwise a long read is shared out evenly, so
        that each connection waits few times for a first byte, in which nothing comes.

        Args:
            length: in bytes.
            largest: bytes of a request that are not exceeded, but for ``own``.
            own: bytes of it that are asked for here, where other processes ask for the rest: all
                together make no more requests than one would.
        """
        size = self.config.part_size
        if size != S3ClientConfig.part_size or length <= size:
            return size
        connections = self.fetcher.max_connections
        rounds = math.ceil(length / (connections * largest))
        share = math.ceil(length / (connections * rounds))
        size = max(size, math.ceil(share / PART_UNIT) * PART_UNIT)
        return size if own is None else max(size, math.ceil(own / max(1, own // size)))

    def lane(self, counters: Counters | None = None, collects: bool = False) -> Lane:
        """A new lane, counted with ``counters`` and with the client.

        Args:
            counters: of a reader.
            collects: see `Fetcher.wait_some`.
        """
        return Lane(counters or Counters(), self.counters, collects)

    def submit(
        self, fetcher: Fetcher, transfers: Iterable[Transfer], *, attended: bool = False
    ) -> None:
        """Sign transfers and start them as connections come free.

        Args:
            attended: the calling thread waits next, as `Fetcher.submit` has it.
        """
        ready = []
        for transfer in transfers:
            request: Request = transfer.request
            transfer.sign(self.signer.sign(request))
            transfer.lane.count_request(request.operation)
            ready.append(transfer)
        fetcher.submit(ready, attended=attended)

    def execute(self, request: Request, *, etag: str = "") -> Transfer:
        """Carry out a request whose answer is a document or, for HEAD, a head.

        Args:
            request: what is asked.
            etag: the version that must be there; "" for any.

        Raises:
            S3Exception: it failed for good.
        """
        transfer = Transfer(
            self.lane(), request, self.pool, head=request.method == "HEAD", etag=etag
        )
        self.perform(transfer)
        return transfer

    def perform(self, transfer: Transfer) -> None:
        """Carry out one transfer, which is alone in its lane.

        Raises:
            S3Exception: it failed for good. Nothing is written to its destination any more.
        """
        fetcher = self.fetcher
        request, lane = transfer.request, transfer.lane
        try:
            transfer.sign(self.signer.sign(request))
            lane.count_request(request.operation)
            fetcher.submit((transfer,), attended=True)
            fetcher.wait_done(transfer)
        except BaseException:
            fetcher.cancel(lane)
            raise
        if transfer.failed:
            raise transfer.error

    def stats(self) -> dict[str, Any]:
        """Counts since the session began, in this process."""
        return self.counters.snapshot()

    def settle_report(self, fetcher: Fetcher, transfer: Transfer) -> None:
        """Decide about one reported transfer. Supervising thread only."""
        try:
            decision = self._judge.decide(transfer)
            if isinstance(decision, Retry):
                self._put_back(fetcher, transfer, decision)
            elif isinstance(decision, Empty):
                transfer.settle_empty(decision.total)
                fetcher.finish(transfer)
            else:
                fetcher.fail(transfer, decision)
        except BaseException as error:
            # Credentials that cannot be refreshed, or a fault of ours: whoever waits is told. Even
            # of a SystemExit, for this thread must go on.
            if not fetcher.abandoned:
                fetcher.fail(transfer, error)

    def _put_back(self, fetcher: Fetcher, transfer: Transfer, decision: Retry) -> None:
        request: Request = transfer.request
        transfer.sign(self.signer.sign_anew(request))
        if decision.reason is not None:
            transfer.lane.count_retry(decision.reason)
            transfer.lane.count_request(request.operation)
        if decision.reason == "throttle" and transfer.status not in PACED:
            fetcher.throttle()
        fetcher.resubmit(transfer, decision.delay)

    def close(self) -> None:
        """Stop all transfers and the threads. Idempotent."""
        with self._lock:
            self.closed = True
            crew, self._crew = self._crew, None
        if crew is not None:
            crew.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _copy_of, (self._identity, *self._arguments)

    def __del__(self) -> None:
        if not sys.is_finalizing() and not getattr(self, "closed", True):
            self.close()


def _new_fetcher_of(session_reference: weakref.ref[Session]) -> Fetcher:
    session = session_reference()
    if session is None:
        raise FetcherClosed("the client was closed")
    return session._new_fetcher()


def _copy_of(identity: str, *arguments: Any) -> Session:
    copy = _copies.get(identity)
    if copy is None or copy.closed:
        copy = _copies[identity] = Session(*arguments)
        copy._identity = identity
    return copy


def _descriptor_limit() -> int:
    try:
        with whole:
            import resource
    except ImportError:  # Windows has none
        return 1 << 20
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


def _supervise(fetcher: Fetcher, session_reference: weakref.ref[Session]) -> None:
    while True:
        transfer = fetcher.next_report()
        session = session_reference()
        if transfer is None or session is None:
            return
        session.settle_report(fetcher, transfer)
        del transfer, session


def _close_all() -> None:
    process.begin_exit()
    for session in list(_sessions):
        session.close()


def _after_fork_in_child() -> None:
    for session in list(_sessions):
        session.after_fork()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

LIBCURL = f"libcurl/{libcurl.version}"
"""How the bound libcurl is named in the user agent."""
