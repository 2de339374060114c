"""Counts forks, so that objects can tell whether they were made in this very process.

After a fork the child has the parent's memory but not its threads, and shares its sockets.
Every object that owns a lock, a thread or a connection keeps the generation it was made in and
treats those as abandoned once :func:`current` differs.
"""

import os
import threading


def current():
    """The number of forks between the process that first imported the library and this one."""
    return generation


def begin_exit():
    """Take note that this process's interpreter is about to end."""
    global exiting
    exiting = True


cdef int end_daemon() except -1:
    """Raise ``SystemExit`` in a daemon thread of an interpreter that is about to end.

    Such a thread was to end with the process. ``SystemExit`` ends it without a traceback on
    standard error, and yet runs its ``finally`` clauses and lets others join it.
    """
    if exiting and threading.current_thread().daemon:
        raise SystemExit("the interpreter is about to end")
    return 0


def leave():
    """As the interpreter is about to end, end the daemon thread that calls; else do nothing."""
    end_daemon()


def _count_fork():
    global generation
    generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)
