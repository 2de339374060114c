"""Free memory that is there: what a hypervisor has taken back is had again before the clocks start.

A virtual machine may give free memory to its host, which clears it again page by page when the
guest takes it, at several times what the guest's own page fault costs. Who among the contenders
meets such pages is chance: it depends on what the one before freed, and how long ago.
"""

from __future__ import annotations

import mmap
from contextlib import suppress

import numpy
from case import Case
from objects import Sizes

_TAKEN = {
    "readinto": "large",
    "read": "large",
    "chunks": "large",
    "load_torch": "saved",
    "load_numpy": "saved",
}
"""By work: the size of what is taken as new memory, by a contender or its library."""
_TIMES = 3  # as much of it: what the library holds, what it hands out, and a buffer that grew


def back_free_memory(case: Case, sizes: Sizes) -> int:
    """Touch as much memory as the case may take, and free it; returns how many bytes."""
    size: int = _TIMES * getattr(sizes, _TAKEN[case.work]) if case.work in _TAKEN else 0
    if size:
        with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            with suppress(AttributeError, OSError):  # without huge pages it takes longer
                memory.madvise(mmap.MADV_HUGEPAGE)
            numpy.frombuffer(memory, numpy.uint8)[:: mmap.PAGESIZE] = 1
    return size
