"""Where each byte of a range goes: pieces of memory in the order of the object's bytes."""

from libc.stdint cimport int64_t

cdef struct Piece:
    int64_t start                   # half-open, offsets in the object
    int64_t stop
    char *place                     # of the byte at start; borrowed from the Scatter's owners

cdef struct Table:
    Piece *pieces                   # sorted, disjoint; owned by the Scatter
    Py_ssize_t count

# Put bytes of the object from ``position`` on in their places; what no piece covers is dropped.
cdef void scatter_bytes(
    const Table *table, int64_t position, const char *data, int64_t length) noexcept nogil


cdef class Scatter:
    cdef Table table
    cdef Py_ssize_t room            # pieces that fit in the table
    cdef object owners              # keep the memory alive

    # For a table that no transfer has yet: room for so many pieces; then each of them.
    cdef int reserve(self, Py_ssize_t count) except -1
    cdef int add(self, int64_t start, int64_t stop, char *place) except -1
