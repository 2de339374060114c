"""Kept pieces of an object: sorted, disjoint views at their offsets, with gaps between them.

A reader adds chunks where they belong and asks what lies at a position. The list holds references
to the chunks and copies nothing until bytes go to the caller's memory; only a source that deals
in crumbs has its chunks gathered into blocks, so that a list of a million views never arises.
Chunks must not change while they are here: a reader hands over immutable ones or copies.

Called by the thread that reads.
"""

from collections import deque

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_CheckExact
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from libc.stdint cimport int64_t

from s3reader._ext.memory cimport Memory, copy_bytes

# Chunks of fewer bytes are gathered: a view costs about 200 bytes of bookkeeping, and below
# 4 KiB copying is cheaper than keeping it.
cdef int64_t CRUMB = 4 * 1024
# Crumbs are gathered in blocks of this many bytes: 16 crumbs or more share one view.
cdef int64_t CRUMB_BLOCK = 64 * 1024


cdef class Span:
    """A kept piece: the object's bytes ``[start, end)``, in a chunk that it keeps alive."""

    def __cinit__(self, int64_t start, chunk, int64_t skip=0, int64_t count=-1):
        PyObject_GetBuffer(chunk, &self.held, PyBUF_SIMPLE)
        if count < 0:
            count = self.held.len - skip
        if skip < 0 or count < 0 or skip + count > self.held.len:
            raise IndexError(f"no bytes [{skip}, {skip + count}) in a chunk of {self.held.len}")
        self.data = <const char*>self.held.buf + skip
        self.start = start
        self.end = start + count

    def __dealloc__(self):
        PyBuffer_Release(&self.held)

    def copy(self, int64_t position, Memory target not None, int64_t offset, int64_t count) -> int:
        """Copy ``count`` bytes from ``position`` on into ``target`` at ``offset``."""
        if not self.start <= position <= position + count <= self.end:
            raise IndexError(f"[{position}, {position + count}) is not in this piece")
        if offset < 0 or count > target.nbytes - offset:
            raise IndexError(f"{count} bytes do not fit at {offset} of {target.nbytes}")
        copy_bytes(target.data + offset, self.data + (position - self.start), count)
        return count


cdef class ChunkList:
    """Pieces of one object by offset. Offsets and lengths are in bytes, ranges half-open."""

    def __cinit__(self):
        self.spans = []
        self.arrivals = deque()

    def __len__(self) -> int:
        return PyList_GET_SIZE(self.spans)

    cdef Span span(self, Py_ssize_t index):
        return <Span>PyList_GET_ITEM(self.spans, index)

    cdef Py_ssize_t index_after(self, int64_t position) noexcept:
        """Index of the first span that starts after ``position``."""
        cdef Py_ssize_t low = 0, high = PyList_GET_SIZE(self.spans), middle
        while low < high:
            middle = (low + high) // 2
            if (<Span>PyList_GET_ITEM(self.spans, middle)).start > position:
                high = middle
            else:
                low = middle + 1
        return low

    cdef Py_ssize_t index_at(self, int64_t position) noexcept:
        """Index of the span that holds ``position``, or -1."""
        cdef Py_ssize_t index = self.recent
        if index < PyList_GET_SIZE(self.spans):
            span = <Span>PyList_GET_ITEM(self.spans, index)
            if span.start <= position < span.end:
                return index
        index = self.index_after(position) - 1
        if index < 0 or (<Span>PyList_GET_ITEM(self.spans, index)).end <= position:
            return -1
        self.recent = index
        return index

    cdef int insert(self, Py_ssize_t index, Span span) except -1:
        self.spans.insert(index, span)
        self.arrivals.append(span)
        self.nbytes += span.end - span.start
        return 0

    cdef int remove(self, Py_ssize_t index) except -1:
        cdef Span span = self.span(index)
        span.dropped = True
        self.nbytes -= span.end - span.start
        del self.spans[index]
        return 0

    cdef bint grow(self, int64_t start, const char* data, int64_t count) except -1:
        """Append a crumb to the block that ends at ``start``, if there is one with room."""
        cdef Py_ssize_t index = self.index_at(start - 1)
        if index < 0 or index != PyList_GET_SIZE(self.spans) - 1:
            return False
        cdef Span span = self.span(index)
        if span.end != start or span.capacity_end < start + count:
            return False
        copy_bytes(<char*>span.data + (start - span.start), data, count)
        span.end += count
        self.nbytes += count
        return True

    def add(self, int64_t start, chunk) -> None:
        """Keep ``chunk``, whose first byte lies at ``start``; what is kept already stays."""
        cdef Span whole = Span(start, chunk), block
        cdef int64_t position = start, stop
        cdef Py_ssize_t index
        if whole.end == whole.start:
            return
        if PyBytes_CheckExact(chunk) and whole.end - start < CRUMB:
            if self.grow(start, whole.data, whole.end - start):
                return
            if self.index_after(start) == PyList_GET_SIZE(self.spans) and self.index_at(start) < 0:
                block = Span(start, Memory.block(CRUMB_BLOCK), 0, whole.end - start)
                block.capacity_end = start + CRUMB_BLOCK
                copy_bytes(<char*>block.data, whole.data, whole.end - start)
                self.insert(PyList_GET_SIZE(self.spans), block)
                return
        while position < whole.end:
            index = self.index_at(position)
            if index >= 0:
                position = self.span(index).end
                continue
            index = self.index_after(position)
            stop = whole.end
            if index < PyList_GET_SIZE(self.spans):
                stop = min(stop, self.span(index).start)
            if position == whole.start and stop == whole.end:
                self.insert(index, whole)
            else:
                self.insert(index, Span(position, chunk, position - start, stop - position))
            position = stop

    def at(self, int64_t position):
        """The span that holds ``position``, or None."""
        cdef Py_ssize_t index = self.index_at(position)
        return None if index < 0 else self.span(index)

    def has(self, int64_t position) -> bool:
        """Whether the byte at ``position`` is kept."""
        return self.index_at(position) >= 0

    def run_end(self, int64_t position, int64_t limit) -> int:
        """Where the unbroken run that holds ``position`` ends, or ``limit`` if that is nearer."""
        cdef Py_ssize_t index = self.index_at(position)
        if index < 0:
            return position
        cdef int64_t end = self.span(index).end
        while end < limit:
            index += 1
            if index == PyList_GET_SIZE(self.spans) or self.span(index).start != end:
                break
            end = self.span(index).end
        return min(end, limit)

    def next_start(self, int64_t position):
        """Where the next span after ``position`` starts, or None."""
        cdef Py_ssize_t index = self.index_after(position)
        return None if index == PyList_GET_SIZE(self.spans) else self.span(index).start

    def previous_end(self, int64_t position) -> int:
        """Where the last span before an uncovered ``position`` ends, or 0."""
        cdef Py_ssize_t index = self.index_after(position) - 1
        return 0 if index < 0 else self.span(index).end

    cdef int64_t copy_out(self, int64_t position, char* target, int64_t count) except -1:
        """Copy the unbroken run from ``position`` on, ``count`` bytes at most."""
        cdef Py_ssize_t index = self.index_at(position)
        cdef int64_t copied = 0, part
        cdef Span span
        while 0 <= index < PyList_GET_SIZE(self.spans) and copied < count:
            span = self.span(index)
            if not span.start <= position < span.end:
                break
            part = min(span.end - position, count - copied)
            copy_bytes(target + copied, span.data + (position - span.start), part)
            self.recent = index
            copied += part
            position += part
            index += 1
        return copied

    def copy(self, int64_t position, Memory target not None, int64_t offset, int64_t count) -> int:
        """Copy the run from ``position`` into ``target`` at ``offset``; returns how much it was."""
        if offset < 0 or count < 0 or count > target.nbytes - offset:
            raise IndexError(f"{count} bytes do not fit at {offset} of {target.nbytes}")
        return self.copy_out(position, target.data + offset, count)

    def read(self, int64_t position, Py_ssize_t count) -> bytes:
        """The ``count`` kept bytes from ``position`` on, as one new object."""
        cdef Memory memory = Memory.for_bytes(count)
        if self.copy_out(position, memory.data, count) != count:
            raise LookupError(f"bytes [{position}, {position + count}) are not all kept")
        return memory.result

    def discard_before(self, int64_t position) -> None:
        """Let go of the spans that end at or before ``position``."""
        while PyList_GET_SIZE(self.spans) and self.span(0).end <= position:
            self.remove(0)
        while self.arrivals and (<Span>self.arrivals[0]).dropped:
            self.arrivals.popleft()

    def replace(self, int64_t start, chunk) -> None:
        """Keep ``chunk`` in place of every span that lies wholly inside it."""
        cdef Span whole = Span(start, chunk)
        cdef Py_ssize_t index = self.index_after(start - 1)
        while index < PyList_GET_SIZE(self.spans) and self.span(index).end <= whole.end:
            self.remove(index)
        self.arrivals = deque([span for span in self.arrivals if not (<Span>span).dropped])
        self.add(start, chunk)

    def trim(self, int64_t limit) -> None:
        """Let go of the spans that came first until at most ``limit`` bytes or one span is left."""
        cdef Span oldest
        while self.nbytes > limit and PyList_GET_SIZE(self.spans) > 1:
            oldest = self.arrivals.popleft()
            if not oldest.dropped:
                self.remove(self.index_at(oldest.start))

    def clear(self) -> None:
        """Let go of everything."""
        self.spans.clear()
        self.arrivals.clear()
        self.nbytes = 0
