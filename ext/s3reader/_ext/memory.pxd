"""Header of ``memory``: where received bytes go."""

from cpython.buffer cimport Py_buffer

cdef enum:
    # Bytes; a shorter copy is over before another thread could have made use of the GIL.
    COPY_WITHOUT_GIL = 262144


cdef int acquire_writable(object target, Py_buffer* view) except -1
cdef int copy_bytes(char* target, const char* source, Py_ssize_t count) except -1


cdef class Memory:
    cdef char* data             # first byte; what keeps it alive is one of the three below
    cdef readonly Py_ssize_t nbytes
    cdef Py_buffer lender       # a caller's buffer
    cdef bint borrowed          # the lender is held
    cdef bytes result           # a bytes object still being filled, or None
    cdef bint allocated         # data is this object's own allocation
    cdef Py_ssize_t views       # exported buffers that point into data
