"""Where one item's bytes arrive: most in their owner's memory, a few beside it."""

from libc.stdint cimport int64_t


cdef class Landing:
    cdef readonly int64_t offset    # of the item's first byte in its object
    cdef readonly int64_t length    # of the item, in bytes
    cdef readonly int64_t start     # item's bytes [start, stop) are at place, the others in margins
    cdef readonly int64_t stop
    cdef char *place                # borrowed from the owner
    cdef char *margins              # the bytes before start, then those from stop on; owned
    cdef object owner               # keeps place alive
    cdef list runs                  # [start, stop, CRC-32] of bytes at place, disjoint; or None

    # Copy the item's bytes [start, stop), which must be in it.
    cdef void copy(self, int64_t start, int64_t stop, char *to) noexcept nogil

    # The owner's bytes [start, stop), in place; to be gone before the landing is.
    cdef object view(self, int64_t start, int64_t stop)
