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


cdef class Extent:
    cdef char *data
    cdef Py_ssize_t nbytes
    cdef object owner


cdef class Scatter:
    cdef Table table
    cdef object owners              # keep the memory alive
