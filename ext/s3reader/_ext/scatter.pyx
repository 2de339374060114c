"""Scatter: one range of an object into many pieces of memory.

A request that covers several tensors of a checkpoint puts each one's bytes where they belong,
with nothing in between; the bytes around them go to small memory of their own, or nowhere. The
I/O thread writes through the table without the GIL; it does not change once made.
"""

cimport cython
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy


cdef void scatter_bytes(
        const Table *table, int64_t position, const char *data, int64_t length) noexcept nogil:
    cdef int64_t end = position + length
    cdef int64_t start, stop
    cdef Py_ssize_t low = 0, high = table.count, middle
    cdef const Piece *piece
    while low < high:               # the first piece that ends after the position
        middle = (low + high) // 2
        if table.pieces[middle].stop <= position:
            low = middle + 1
        else:
            high = middle
    while low < table.count and table.pieces[low].start < end:
        piece = &table.pieces[low]
        start = max(position, piece.start)
        stop = min(end, piece.stop)
        memcpy(piece.place + (start - piece.start), data + (start - position), stop - start)
        low += 1


# What the collector cleared could still be written to.
@cython.no_gc_clear
cdef class Scatter:
    """Places of an object's bytes, for the transfers of one or more ranges of it.

    Parameters
    ----------
    pieces
        ``(start, stop, address)``, sorted and disjoint: bytes ``[start, stop)`` of the object go
        to ``address``, which must be that much writable memory. Bytes between pieces are dropped.
    owners
        Whatever keeps the memory alive.
    """

    def __cinit__(self, list pieces not None, owners):
        self.owners = owners
        self.reserve(len(pieces))
        for start, stop, address in pieces:
            self.add(start, stop, <char *> <uintptr_t> address)

    def __dealloc__(self):
        free(self.table.pieces)

    cdef int reserve(self, Py_ssize_t count) except -1:
        if self.table.pieces != NULL:
            raise RuntimeError("a scatter does not change once made")
        self.table.pieces = <Piece *> calloc(count, sizeof(Piece)) if count else NULL
        if count and self.table.pieces == NULL:
            raise MemoryError
        self.room = count
        return 0

    cdef int add(self, int64_t start, int64_t stop, char *place) except -1:
        cdef Py_ssize_t count = self.table.count
        cdef Piece *piece = self.table.pieces + count
        cdef int64_t previous = (piece - 1).stop if count else 0
        if not previous <= start <= stop or count == self.room:
            raise ValueError(f"pieces must be sorted and disjoint, got {start}-{stop}")
        piece.start = start
        piece.stop = stop
        piece.place = place
        self.table.count = count + 1
        return 0

    def put(self, int64_t position, const unsigned char[::1] data not None):
        """Put bytes of the object from ``position`` on in their places, as the I/O thread does."""
        if len(data):
            scatter_bytes(&self.table, position, <const char *> &data[0], len(data))

    def __len__(self):
        return self.table.count

    def release(self):
        """Let go of the memory. Only when no transfer to it is in flight any more."""
        self.table.count = 0
        self.owners = None
