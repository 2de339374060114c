"""Writable memory that received bytes are put into, whoever owns it.

A reader fills three kinds of memory: the caller's buffer (``readinto``), a ``bytes`` object that
it will return (``read``), and a block of its own that it fills again and again. ``Memory`` makes
them look alike: a flat, writable run of bytes with the buffer protocol, so that a stream can
receive straight into it. A view of it keeps the owner alive, whatever becomes of the reader.

Called by the thread that reads; nothing here blocks, and large copies release the GIL.
"""

from cpython.buffer cimport (
    Py_buffer, PyBUF_FULL_RO, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.string cimport memcpy


cdef int copy_bytes(char* target, const char* source, Py_ssize_t count) except -1:
    """Copy between memories that do not overlap and that the caller keeps alive.

    Where there is nothing to copy, either may be NULL.
    """
    if count >= COPY_WITHOUT_GIL:
        with nogil:
            memcpy(target, source, count)
    elif count > 0:
        memcpy(target, source, count)
    return 0


cdef bint is_buffer(object target):
    cdef Py_buffer view
    try:
        PyObject_GetBuffer(target, &view, PyBUF_FULL_RO)
    except (BufferError, TypeError, ValueError):
        return False
    cdef bint writable = not view.readonly
    PyBuffer_Release(&view)
    return writable


cdef int acquire_writable(object target, Py_buffer* view) except -1:
    """Take the buffer of ``target`` as flat writable bytes, of any item type and shape."""
    try:
        PyObject_GetBuffer(target, view, PyBUF_SIMPLE | PyBUF_WRITABLE)
    except (BufferError, TypeError, ValueError):
        kind = "non-contiguous " if is_buffer(target) else ""
        raise TypeError(
            f"argument must be a writable bytes-like object, not {kind}{type(target).__name__}"
        ) from None
    return 0


cdef class Memory:
    """A flat run of ``nbytes`` writable bytes, made by one of the static methods."""

    @staticmethod
    def lent(target) -> Memory:
        """The caller's own buffer; ``TypeError`` unless it is writable and C-contiguous."""
        cdef Memory memory = Memory.__new__(Memory)
        acquire_writable(target, &memory.lender)
        memory.borrowed = True
        memory.data = <char*>memory.lender.buf
        memory.nbytes = memory.lender.len
        return memory

    @staticmethod
    def for_bytes(Py_ssize_t nbytes) -> Memory:
        """A new ``bytes`` object, to be filled before ``take`` hands it out."""
        cdef Memory memory = Memory.__new__(Memory)
        memory.result = PyBytes_FromStringAndSize(NULL, nbytes)
        memory.data = PyBytes_AS_STRING(memory.result)
        memory.nbytes = nbytes
        return memory

    @staticmethod
    def block(Py_ssize_t nbytes) -> Memory:
        """A block of its own, not cleared: its pages cost nothing until bytes arrive."""
        cdef Memory memory = Memory.__new__(Memory)
        memory.data = <char*>PyMem_RawMalloc(nbytes)
        if memory.data == NULL:
            raise MemoryError
        memory.allocated = True
        memory.nbytes = nbytes
        return memory

    def __dealloc__(self):
        PyBuffer_Release(&self.lender)
        if self.allocated:
            PyMem_RawFree(self.data)

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.nbytes, 0, flags)
        self.views += 1

    def __releasebuffer__(self, Py_buffer* view):
        self.views -= 1

    def release(self) -> None:
        """Let go of a caller's buffer, for whoever still refers to this: a traceback does.

        While somebody holds a view of it, the buffer is kept until this object's end.
        """
        if self.borrowed and self.views == 0:
            self.borrowed = False
            self.data = NULL
            self.nbytes = 0
            PyBuffer_Release(&self.lender)

    def __len__(self) -> int:
        return self.nbytes

    def view(self, Py_ssize_t start, Py_ssize_t stop) -> memoryview:
        """The bytes ``[start, stop)`` as a writable memoryview."""
        return memoryview(self)[start:stop]

    def put(self, Py_ssize_t offset, chunk) -> int:
        """Copy the whole of a bytes-like ``chunk`` to ``offset`` and return its length."""
        cdef Py_buffer source
        PyObject_GetBuffer(chunk, &source, PyBUF_SIMPLE)
        try:
            if offset < 0 or source.len > self.nbytes - offset:
                raise IndexError(f"{source.len} bytes do not fit at {offset} of {self.nbytes}")
            copy_bytes(self.data + offset, <const char*>source.buf, source.len)
            return source.len
        finally:
            PyBuffer_Release(&source)

    def take(self) -> bytes:
        """The ``bytes`` object of ``for_bytes``, filled. Nothing may write to it any more."""
        if self.result is None:
            raise TypeError("this memory is not a bytes object")
        return self.result
