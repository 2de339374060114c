"""The compiled base of the readers: a position, and the hot path of small reads.

``Cursor`` holds where the reader stands and the addresses of the piece of the object that is at
hand. ``CursorReader`` is the ``io`` object around it: what lies wholly inside that piece is read,
sought, peeked at and split into lines here and costs about as much as in ``io.BufferedReader``.
Everything else is a call to one of the hooks of the Python class on top, which says what kind of
reader it is:

``_load(position)``
    put the byte at ``position`` at hand (``cursor.show``); False when the object ends before it
``_read(size)``
    read ``size`` bytes, or the rest when it is -1, from the cursor's position on, and move it
``_fill(memory)``
    the same into writable memory; returns the number of bytes
``_seek(offset, whence)``
    move the cursor; ``offset`` is an int, ``whence`` whatever the caller gave
``_failed()``
    one of these has raised: take note of what was learned of the object before
``_release()``
    cancel requests and give memory back

A hook that raises leaves the position where it was. ``io.BufferedIOBase`` has its own instance
layout, so an extension type with C fields cannot stand beside it: hence a plain class that holds
one. A reader belongs to one thread at a time.
"""

import io
import operator

from cpython.buffer cimport Py_buffer, PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from libc.stdint cimport INT64_MAX, int64_t
from libc.string cimport memchr

from s3reader._ext.chunklist cimport Span
from s3reader._ext.memory cimport COPY_WITHOUT_GIL, Memory, acquire_writable, copy_bytes

# What `peek` shows when more is at hand: io.BufferedReader's own buffer size.
cdef int64_t PEEK_SIZE = 8 * 1024


cdef class Cursor:
    """Where a reader stands, and the piece of the object at hand.

    ``start`` and ``end`` are the piece's object offsets, ``data`` its address, ``span`` its
    owner. Nothing is at hand when ``end`` is -1: then no read, not even an empty one, fits.
    """

    cdef public int64_t position
    cdef readonly bint closed
    cdef const char* data
    cdef int64_t start
    cdef int64_t end
    cdef Span span

    def __cinit__(self):
        self.end = -1

    def show(self, Span span not None, int64_t lowest=0, int64_t highest=INT64_MAX) -> None:
        """Have ``span`` at hand, as far as it lies inside ``[lowest, highest)``."""
        self.span = span
        self.start = max(span.start, lowest)
        self.end = min(span.end, highest)
        self.data = span.data + (self.start - span.start)

    def hide(self) -> None:
        """Have nothing at hand."""
        self.span = None
        self.start = 0
        self.end = -1
        self.data = NULL

    def close(self) -> None:
        """Refuse everything from now on."""
        self.hide()
        self.closed = True

    cdef bint reaches(self, int64_t position, int64_t count) noexcept:
        """Whether ``[position, position + count)`` is at hand."""
        return self.start <= position and count <= self.end - position


cdef inline Cursor cursor_of(reader):
    found = reader._cursor
    if type(found) is not Cursor:
        raise ValueError(f"{type(reader).__name__} was not initialised")
    return <Cursor>found


cdef inline bytes bytes_at(Cursor cursor, int64_t position, int64_t count):
    """A copy of what is at hand, which must reach as far."""
    cdef const char* start = cursor.data + (position - cursor.start)
    if count < COPY_WITHOUT_GIL:
        return PyBytes_FromStringAndSize(start, count)
    result = PyBytes_FromStringAndSize(NULL, count)
    copy_bytes(PyBytes_AS_STRING(result), start, count)
    return result


cdef int refuse_closed(Cursor cursor) except -1:
    if cursor.closed:
        raise ValueError("I/O operation on closed file")
    return 0


cdef int64_t as_size(size) except? -1:
    """A size argument as bytes: -1 for None or negative, clamped to what 64 bits hold."""
    cdef int overflow = 0
    cdef int64_t count
    if size is None:
        return -1
    if not PyLong_CheckExact(size):
        try:
            size = operator.index(size)
        except TypeError:
            raise TypeError(
                f"argument should be integer or None, not {type(size)!r}"
            ) from None
    count = PyLong_AsLongLongAndOverflow(size, &overflow)
    if overflow > 0:
        return INT64_MAX
    return -1 if overflow < 0 or count < 0 else count


class CursorReader(io.BufferedIOBase):
    """A readable, seekable ``io`` object around a ``Cursor``; see the module's text for hooks."""

    _cursor = None

    def __init__(self):
        self._cursor = Cursor()

    def read(self, size=None):
        """Read up to ``size`` bytes, or the rest of the object when it is None or negative.

        Returns fewer bytes only at the object's end. Raises ``TypeError`` for a ``size`` that is
        no integer, ``ValueError`` when closed; an error leaves the position where it was.
        """
        cdef Cursor cursor = cursor_of(self)
        cdef int64_t count = as_size(size), position = cursor.position
        if count >= 0 and cursor.reaches(position, count):
            cursor.position = position + count
            return bytes_at(cursor, position, count)
        refuse_closed(cursor)
        try:
            return self._read(count)
        except BaseException:
            self._failed()
            raise

    def readinto(self, buf):
        """Fill ``buf``, any writable C-contiguous buffer, and return the number of bytes put there.

        Fewer than ``buf`` holds come only at the object's end. Raises ``TypeError`` before any
        request for a buffer that will not do.
        """
        cdef Cursor cursor = cursor_of(self)
        cdef Py_buffer view
        cdef int64_t position = cursor.position, count
        refuse_closed(cursor)
        acquire_writable(buf, &view)
        try:
            count = view.len
            if cursor.reaches(position, count):
                copy_bytes(
                    <char*>view.buf, cursor.data + (position - cursor.start), <Py_ssize_t>count
                )
                cursor.position = position + count
                return count
        finally:
            PyBuffer_Release(&view)
        if count == 0:
            return 0
        memory = Memory.lent(buf)
        try:
            return self._fill(memory)
        except BaseException:
            self._failed()
            raise
        finally:
            memory.release()

    def read1(self, size=-1, /):
        """Read up to ``size`` bytes of what is at hand, after one load at most if nothing is.

        With a negative ``size`` or None: all that is at hand. ``b""`` means the object's end.
        """
        cdef Cursor cursor = cursor_of(self)
        cdef int64_t count = as_size(size), position, available
        refuse_closed(cursor)
        if count == 0:
            return b""
        available = self._at_hand()
        position = cursor.position
        if 0 <= count < available:
            available = count
        cursor.position = position + available
        return bytes_at(cursor, position, available)

    def readinto1(self, buf, /):
        """As ``readinto``, but with what is at hand, after one load at most if nothing is."""
        cdef Cursor cursor = cursor_of(self)
        cdef Memory memory
        cdef int64_t position, available
        refuse_closed(cursor)
        memory = Memory.lent(buf)
        if memory.nbytes == 0:
            return 0
        available = min(<int64_t>self._at_hand(), memory.nbytes)
        position = cursor.position
        copy_bytes(memory.data, cursor.data + (position - cursor.start), available)
        cursor.position = position + available
        return available

    def peek(self, size=0, /):
        """Return some of the next bytes without moving, after one load at most if none is at hand.

        At least one byte unless the object ends here; otherwise what is at hand, up to ``size``
        or 8 KiB, whichever is more.
        """
        cdef Cursor cursor = cursor_of(self)
        cdef int64_t count = as_size(size), available
        refuse_closed(cursor)
        available = min(<int64_t>self._at_hand(), max(count, PEEK_SIZE))
        return bytes_at(cursor, cursor.position, available)

    def _at_hand(self):
        """How many bytes are at hand from the position on, loading if there are none."""
        cdef Cursor cursor = cursor_of(self)
        if not cursor.reaches(cursor.position, 1) and not self._load_at(cursor.position):
            return 0
        return cursor.end - cursor.position

    def _load_at(self, position):
        try:
            return self._load(position)
        except BaseException:
            self._failed()
            raise

    def _failed(self):
        """Nothing to take note of, unless a subclass says so."""

    def readline(self, size=-1, /):
        """Read up to and including the next newline, or ``size`` bytes, or to the object's end."""
        cdef Cursor cursor = cursor_of(self)
        cdef int64_t limit = as_size(size), position = cursor.position, count
        cdef const char* start
        cdef const char* newline
        cdef list parts = None
        refuse_closed(cursor)
        if limit < 0:
            limit = INT64_MAX
        while limit:
            if not cursor.reaches(position, 1) and not self._load_at(position):
                if parts is None:
                    # Past an end that only this load has told: the hook put the position back.
                    return b""
                break
            start = cursor.data + (position - cursor.start)
            count = min(limit, cursor.end - position)
            newline = <const char*>memchr(start, c"\n", count)
            if newline != NULL:
                count = newline - start + 1
            part = bytes_at(cursor, position, count)
            position += count
            limit -= count
            if parts is None:
                if newline != NULL or not limit:
                    cursor.position = position
                    return part
                parts = []
            parts.append(part)
            if newline != NULL:
                break
        cursor.position = position
        return b"".join(parts) if parts is not None else b""

    def __iter__(self):
        refuse_closed(cursor_of(self))
        return self

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def readlines(self, hint=-1, /):
        """The lines from here on, until they have ``hint`` bytes together, or to the end."""
        cdef int64_t limit = as_size(hint), total = 0
        lines = []
        for line in self:
            lines.append(line)
            total += len(line)
            if 0 < limit <= total:
                break
        return lines

    def seek(self, offset, whence=0, /):
        """Move to ``offset`` bytes from the start (0), the position (1) or the end (2).

        Returns the new position. Raises ``TypeError`` for arguments that are no integers and
        ``ValueError`` for an unknown ``whence`` or a place before the start; then nothing moves.
        """
        cdef Cursor cursor = cursor_of(self)
        cdef int64_t target, by
        cdef int overflow = 0
        if PyLong_CheckExact(offset) and PyLong_CheckExact(whence):
            by = PyLong_AsLongLongAndOverflow(offset, &overflow)
            if not overflow and -cursor.position <= by <= INT64_MAX // 2 and (
                whence == 0 or whence == 1
            ):
                target = by + cursor.position if whence == 1 else by
                if cursor.start <= target <= cursor.end:
                    cursor.position = target
                    return target
        refuse_closed(cursor)
        try:
            offset = operator.index(offset)
        except TypeError:
            raise TypeError(f"integer argument expected, got {type(offset)!r}") from None
        try:
            return self._seek(offset, whence)
        except BaseException:
            self._failed()
            raise

    def tell(self):
        """The position: the object offset of the next byte."""
        cdef Cursor cursor = cursor_of(self)
        refuse_closed(cursor)
        return cursor.position

    def seekable(self):
        """True."""
        refuse_closed(cursor_of(self))
        return True

    def readable(self):
        """True."""
        refuse_closed(cursor_of(self))
        return True

    def writable(self):
        """False."""
        refuse_closed(cursor_of(self))
        return False

    @property
    def closed(self):
        """Whether ``close`` was called."""
        found = self._cursor
        return type(found) is not Cursor or (<Cursor>found).closed

    def close(self):
        """Cancel what is in flight and give memory back. Closing again does nothing."""
        found = self._cursor
        if type(found) is not Cursor or (<Cursor>found).closed:
            return
        (<Cursor>found).close()
        try:
            self._release()
        finally:
            io.BufferedIOBase.close(self)
