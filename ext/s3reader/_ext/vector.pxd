"""Many ranges of an object, and the caller's buffers that they go into."""

from cpython.buffer cimport Py_buffer
from libc.stdint cimport int64_t

from s3reader._ext.scatter cimport Scatter

cdef struct Member:
    int64_t start                   # half-open, offsets in the object
    int64_t stop
    char *place                     # of the byte at start; borrowed from the buffer
    Py_ssize_t index                # in the caller's order


cdef class Vector:
    cdef Py_buffer *views           # owned, in the caller's order
    cdef Py_ssize_t held            # how many of them are
    cdef Member *members            # the ranges that have bytes, sorted
    cdef Py_ssize_t count
    cdef Member *repeats            # what of them other members have too, copied in the end
    cdef Py_ssize_t repeat_count
    cdef readonly int64_t nbytes    # of all ranges together
    cdef readonly Scatter scatter   # the rest: each byte of the object once

    cdef int take(self, Py_ssize_t index, start, buffer) except -1
    cdef int arrange(self) except -1
