"""Scatter: one range of an object into many pieces of memory.

A request that covers several tensors of a checkpoint puts each one's bytes where they belong,
with nothing in between; the bytes around them go to small memory of their own, or nowhere. The
I/O thread writes through the table without the GIL; it does not change once made.
"""

cimport cython
from cpython.buffer cimport Py_buffer, PyBuffer_FillInfo
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


cdef class Extent:
    """Memory that somebody else owns, with the buffer protocol.

    Parameters
    ----------
    address, nbytes
        Writable memory.
    owner
        Keeps it alive.
    """

    def __cinit__(self, address, Py_ssize_t nbytes, owner):
        if nbytes < 0:
            raise ValueError("memory has no negative length")
        self.data = <char *> <uintptr_t> address
        self.nbytes = nbytes
        self.owner = owner

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.nbytes, 0, flags)

    def __len__(self):
        return self.nbytes


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
        cdef int64_t previous = 0
        cdef Py_ssize_t index = 0
        self.owners = owners
        self.table.pieces = <Piece *> calloc(max(1, len(pieces)), sizeof(Piece))
        if self.table.pieces == NULL:
            raise MemoryError
        for start, stop, address in pieces:
            self.table.pieces[index].start = start
            self.table.pieces[index].stop = stop
            self.table.pieces[index].place = <char *> <uintptr_t> address
            if not previous <= self.table.pieces[index].start <= self.table.pieces[index].stop:
                raise ValueError(f"pieces must be sorted and disjoint, got {start}-{stop}")
            previous = self.table.pieces[index].stop
            index += 1
        self.table.count = index

    def __dealloc__(self):
        free(self.table.pieces)

    def __len__(self):
        return self.table.count
