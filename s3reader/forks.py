"""What a fork must not cut in two: imports in the middle of work, and what takes locks as they do.

An import holds its module's lock, and OpenSSL's set-up holds OpenSSL's. Where a thread of the
parent has such a lock when another one forks, nobody ever lets it go in the child, and the child's
own import waits forever. So whoever imports late does it `whole`, and a fork waits for that.
What libcurl holds is seen to in ``_ext.process``.
"""

from __future__ import annotations

import logging
import os
import threading

_log = logging.getLogger("s3reader")

FORK_PATIENCE = 10.0
"""Seconds a fork waits; a process or service that botocore's set-up asks may be stuck."""


class _Whole:
    """A context, for one thread at a time, that a fork waits for. May be nested."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._taken = False

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def before_fork(self) -> None:
        self._taken = self._lock.acquire(timeout=FORK_PATIENCE)

    def after_fork_in_parent(self) -> None:
        if self._taken:
            self._lock.release()
        else:
            _log.warning("forked within an import or botocore's set-up: the child may hang in it")

    def after_fork_in_child(self) -> None:
        if self._taken:
            self._lock.release()  # as the thread that took it, which is the child's only one
        else:
            self._lock = threading.RLock()


whole = _Whole()

# After logging has registered: a fork takes its lock, too, which what is waited for may need first.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=whole.before_fork,
        after_in_parent=whole.after_fork_in_parent,
        after_in_child=whole.after_fork_in_child,
    )
