"""A caller's memory that transfers write to."""


cdef class Destination:
    # Holds the caller's buffer for as long as any transfer may write to it.
    cdef Py_buffer view
    cdef bint held

    cdef char *at(self, Py_ssize_t offset) noexcept
