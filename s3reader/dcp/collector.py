"""The garbage collector, held off while many objects are made that all stay.

A plan of twenty thousand items is some hundred thousand objects, none of which is garbage, and the
collector looks through all of the process again and again while they are made: with torch imported
that took three quarters of the time of reading such a checkpoint's metadata. So it rests while a
plan is made or carried out, for milliseconds at a time, and never while a connection is awaited.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_resting = 0
_was_enabled = False


@contextmanager
def resting_collector() -> Iterator[None]:
    """Collect nothing meanwhile. Nests, and holds for all threads until the last one is out."""
    global _resting, _was_enabled
    with _lock:
        if not _resting:
            _was_enabled = gc.isenabled()
            gc.disable()
        _resting += 1
    try:
        yield
    finally:
        with _lock:
            _resting -= 1
            if not _resting and _was_enabled:
                gc.enable()


def tenure() -> None:
    """Have the collector take all that there is now for old, without looking at it first.

    Else it looks at what was made while it rested as soon as it may, three times over.
    """
    if not gc.get_freeze_count():  # what the process has frozen stays frozen
        gc.freeze()
        gc.unfreeze()
