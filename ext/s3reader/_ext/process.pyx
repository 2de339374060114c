"""Counts forks, so that objects can tell whether they were made in this very process.

After a fork the child has the parent's memory but not its threads, and shares its sockets.
Every object that owns a lock, a thread or a connection keeps the generation it was made in and
treats those as abandoned once :func:`current` differs.
"""

import os


def current():
    """The number of forks between the process that first imported the library and this one."""
    return generation


def _count_fork():
    global generation
    generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)
