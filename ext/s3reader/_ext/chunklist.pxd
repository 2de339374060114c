"""Header of ``chunklist``: kept pieces of an object, in order."""

from cpython.buffer cimport Py_buffer
from libc.stdint cimport int64_t

from s3reader._ext.memory cimport Memory


cdef class Span:
    cdef Py_buffer held         # the chunk's buffer, held until the span goes
    cdef const char* data       # the byte at `start`, inside `held`
    cdef readonly int64_t start     # object offset of the first byte
    cdef readonly int64_t end       # object offset after the last byte
    cdef int64_t capacity_end   # how far `end` may grow inside a block of our own, else 0
    cdef bint dropped           # no longer in the list


cdef class ChunkList:
    cdef list spans             # of Span: sorted, disjoint, none empty
    cdef object arrivals        # deque of Span: oldest first, dropped ones among them
    cdef readonly int64_t nbytes    # bytes covered by the spans
    cdef Py_ssize_t recent      # index of the span found last, most likely asked for again

    cdef Py_ssize_t index_after(self, int64_t position) noexcept
    cdef Py_ssize_t index_at(self, int64_t position) noexcept
    cdef Span span(self, Py_ssize_t index)
    cdef int insert(self, Py_ssize_t index, Span span) except -1
    cdef int remove(self, Py_ssize_t index) except -1
    cdef bint grow(self, int64_t start, const char* data, int64_t count) except -1
    cdef int64_t copy_out(self, int64_t position, char* target, int64_t count) except -1
