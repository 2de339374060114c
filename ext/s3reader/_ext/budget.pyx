"""The byte budget of a client: a bound on what is in flight and buffered.

Only memory that the library allocates counts; a caller's own buffer does not. Prefetching takes
from the budget before it starts a part and stops where nothing is left; the part that a caller is
waiting for is taken by force, so every reader goes on however small the budget is.
"""

from libc.stdint cimport int64_t


cdef class Budget:
    """Bytes that may be in use, and that are. The GIL guards it.

    Parameters
    ----------
    limit
        Bytes in use at most, but for what is taken by force.
    """

    cdef readonly int64_t limit
    cdef readonly int64_t used

    def __cinit__(self, int64_t limit):
        self.limit = limit

    def take(self, int64_t count, bint force=False):
        """Take ``count`` bytes; False, and nothing is taken, where they are not there."""
        if not force and self.used + count > self.limit:
            return False
        self.used += count
        return True

    def give(self, int64_t count):
        """Give bytes back."""
        self.used -= count
