"""Destinations: the caller's memory, held while transfers may write to it."""

from cpython.buffer cimport (
    PyBUF_ANY_CONTIGUOUS, PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release,
    PyObject_CheckBuffer, PyObject_GetBuffer)
from libc.stdint cimport uintptr_t
from libc.string cimport memcpy
from posix.unistd cimport _SC_PAGESIZE, sysconf

cdef extern from *:
    """
    #include <stddef.h>
    #ifdef __linux__
    #include <sys/mman.h>
    #ifndef MADV_POPULATE_WRITE
    #define MADV_POPULATE_WRITE 23
    #endif
    static int is_missing(void *page, size_t length) {
        unsigned char resident;
        return mincore(page, length, &resident) == 0 && !(resident & 1);
    }
    static void populate(void *pages, size_t length) {
        (void) madvise(pages, length, MADV_POPULATE_WRITE);
    }
    #else
    static int is_missing(void *page, size_t length) {
        (void) page;
        (void) length;
        return 0;
    }
    static void populate(void *pages, size_t length) {
        (void) pages;
        (void) length;
    }
    #endif
    """
    bint is_missing(void *page, size_t length) nogil   # whether an access would find no memory
    void populate(void *pages, size_t length) nogil    # where the kernel can; contents stay

cdef uintptr_t PAGE = <uintptr_t> sysconf(_SC_PAGESIZE)


cdef class Destination:
    """A caller's writable C-contiguous buffer, held while transfers may write to it."""

    def __cinit__(self, buffer):
        try:
            PyObject_GetBuffer(buffer, &self.view, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS)
        except (TypeError, BufferError, ValueError):
            raise TypeError(
                "argument must be a writable C-contiguous bytes-like object, "
                f"not {describe_buffer(buffer)}") from None
        self.held = True

    def __dealloc__(self):
        self.release()

    def __len__(self):
        return self.view.len if self.held else 0

    def __getbuffer__(self, Py_buffer *view, int flags):
        # For looking at what was received: nobody keeps such a view beyond the call it is made in.
        if not self.held:
            raise BufferError("the buffer was let go of")
        PyBuffer_FillInfo(view, self, self.view.buf, self.view.len, 1, flags)

    cdef char *at(self, Py_ssize_t offset) noexcept:
        return <char *> self.view.buf + offset

    def release(self):
        """Let go of the buffer. Only when no transfer to it is in flight any more."""
        if self.held:
            self.held = False
            PyBuffer_Release(&self.view)

    def is_fresh(self, Py_ssize_t offset, Py_ssize_t count):
        """Whether bytes ``[offset, offset + count)`` seem to be new memory, without pages yet.

        Told from two places inside: its ends are often touched by who made it.
        """
        cdef uintptr_t first = <uintptr_t> self.at(offset)
        return (0 <= offset < offset + count <= len(self)
                and is_missing(page_of(first + count // 4), PAGE)
                and is_missing(page_of(first + count // 4 * 3), PAGE))

    def prepare(self, Py_ssize_t offset, Py_ssize_t count):
        """Have pages for bytes ``[offset, offset + count)``, where there are none."""
        cdef uintptr_t first = <uintptr_t> self.at(offset)
        if not 0 <= offset < offset + count <= len(self):
            raise ValueError("more bytes than the buffer takes")
        with nogil:
            if (is_missing(page_of(first), PAGE)
                    or is_missing(page_of(first + count - 1), PAGE)):
                populate(page_of(first), count + (first & (PAGE - 1)))

    def write(self, source, Py_ssize_t offset):
        """Copy a bytes-like object to ``offset``."""
        cdef Py_buffer view
        PyObject_GetBuffer(source, &view, PyBUF_ANY_CONTIGUOUS)
        try:
            if not 0 <= offset <= len(self) - view.len:
                raise ValueError("more bytes than the buffer takes")
            with nogil:
                memcpy(<char *> self.view.buf + offset, view.buf, view.len)
        finally:
            PyBuffer_Release(&view)


cdef inline void *page_of(uintptr_t address) noexcept nogil:
    return <void *> (address & ~(PAGE - 1))


def describe_buffer(buffer):
    """What an object is that cannot be written to, for a message."""
    name = type(buffer).__name__
    if not PyObject_CheckBuffer(buffer):
        return name
    view = memoryview(buffer)
    return f"read-only {name}" if view.readonly else f"non-contiguous {name}"
