"""Vectors: many ranges of an object at once, each into a buffer of its own.

A caller names ranges in any order; they may touch, overlap and repeat. Here they are sorted, and
each byte of the object that is wanted gets one place (a ``Scatter``), which the I/O thread writes
to. What several ranges want is copied from that place when all has come. Near ones are fetched by
one request: a gap costs less than a request of its own.

Nothing here costs more than some hundred nanoseconds a range; there may be tens of thousands.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer)
from cpython.number cimport PyNumber_Index
from libc.stdint cimport INT64_MAX
from libc.stdlib cimport calloc, free, qsort
from libc.string cimport memmove

from s3reader._ext.destination import describe_buffer
from s3reader._ext.ranges cimport Range, is_near, part_at, part_count
from s3reader._ext.scatter cimport Piece, Table


cdef int compare(const void *left, const void *right) noexcept nogil:
    """By their starts; of those that start together the longest first, the others repeat it."""
    cdef const Member *first = <const Member *> left
    cdef const Member *second = <const Member *> right
    if first.start != second.start:
        return -1 if first.start < second.start else 1
    if first.stop != second.stop:
        return -1 if first.stop > second.stop else 1
    return 0


cdef void collect_bytes(const Table *table, const Member *repeat) noexcept nogil:
    """Copy what other members received to one that wants it too."""
    cdef int64_t position = repeat.start
    cdef int64_t stop
    cdef Py_ssize_t low = 0, high = table.count, middle
    cdef const Piece *piece
    while low < high:               # the first piece that ends after the start
        middle = (low + high) // 2
        if table.pieces[middle].stop <= position:
            low = middle + 1
        else:
            high = middle
    while position < repeat.stop:
        piece = &table.pieces[low]
        stop = min(repeat.stop, piece.stop)
        memmove(repeat.place + (position - repeat.start), piece.place + (position - piece.start),
                stop - position)
        position = stop
        low += 1


# What the collector cleared could still be written to.
@cython.no_gc_clear
cdef class Vector:
    """Ranges of an object and their buffers, held until `release`.

    Parameters
    ----------
    ranges
        Pairs of an offset in the object and a writable C-contiguous buffer, which is to get the
        object's bytes from there on.

    Raises
    ------
    TypeError, ValueError
        One of them is none; the message has its number.
    """

    def __cinit__(self, ranges):
        cdef list elements = list(ranges)
        cdef Py_ssize_t index
        cdef Py_ssize_t length = len(elements)
        self.views = <Py_buffer *> calloc(max(1, length), sizeof(Py_buffer))
        self.members = <Member *> calloc(max(1, length), sizeof(Member))
        self.repeats = <Member *> calloc(max(1, length), sizeof(Member))
        if self.views == NULL or self.members == NULL or self.repeats == NULL:
            raise MemoryError
        for index in range(length):
            try:
                start, buffer = elements[index]
            except (TypeError, ValueError):
                raise TypeError(
                    f"ranges[{index}] takes a pair of an offset and a buffer, "
                    f"not {type(elements[index]).__name__}") from None
            self.take(index, start, buffer)
        self.arrange()

    def __dealloc__(self):
        self.release()
        free(self.views)
        free(self.members)
        free(self.repeats)

    cdef int take(self, Py_ssize_t index, start, buffer) except -1:
        cdef Member *member = &self.members[self.count]
        cdef Py_buffer *view = &self.views[self.held]
        try:
            start = PyNumber_Index(start)
        except TypeError:
            raise TypeError(
                f"ranges[{index}] takes an int as its offset, not {type(start).__name__}"
            ) from None
        if not 0 <= start <= INT64_MAX:
            raise ValueError(
                f"ranges[{index}] takes an offset from 0 to 2**63 - 1, not {start}")
        try:
            PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS)
        except (TypeError, BufferError, ValueError):
            raise TypeError(
                f"ranges[{index}] takes a writable C-contiguous bytes-like object, "
                f"not {describe_buffer(buffer)}") from None
        self.held += 1
        member.start = start
        if view.len > INT64_MAX - member.start:
            raise ValueError(f"ranges[{index}] ends past 2**63 - 1")
        member.stop = member.start + view.len
        member.place = <char *> view.buf
        member.index = index
        self.nbytes += view.len
        if view.len:
            self.count += 1
        return 0

    cdef int arrange(self) except -1:
        """Give each byte that is wanted one place; the others that want it are repeats."""
        cdef int64_t covered = 0
        cdef Py_ssize_t index
        cdef Member *member
        cdef Member *repeat
        with nogil:
            qsort(self.members, self.count, sizeof(Member), compare)
        self.scatter = Scatter([], None)
        self.scatter.reserve(self.count)
        for index in range(self.count):
            member = &self.members[index]
            if member.start < covered:
                repeat = &self.repeats[self.repeat_count]
                self.repeat_count += 1
                repeat[0] = member[0]
                repeat.stop = min(member.stop, covered)
            if member.stop > covered:
                covered = max(covered, member.start)
                self.scatter.add(
                    covered, member.stop, member.place + (covered - member.start))
                covered = member.stop
        return 0

    def __len__(self):
        return self.count

    def parts(self, int64_t max_gap, int64_t part_size):
        """The ranges to ask for: ``(start, stop)``, sorted and disjoint.

        Parameters
        ----------
        max_gap
            Bytes between two wanted ones that are fetched rather than asked around.
        part_size
            Bytes of one range at most.
        """
        cdef const Piece *piece
        cdef Range cut
        cdef int64_t start = 0, stop = -1, number, last
        cdef Py_ssize_t index
        cdef list parts = []
        if max_gap < 0 or part_size < 1:
            raise ValueError("a gap has no negative length, a part at least one byte")
        for index in range(self.scatter.table.count):
            piece = &self.scatter.table.pieces[index]
            if (stop >= 0 and is_near(stop, piece.start, max_gap)
                    and piece.stop - start <= part_size):
                stop = piece.stop
                continue
            if stop >= 0:
                parts.append((start, stop))
            # Of a piece that is longer than a part, the last part may go on with what follows.
            last = part_count(piece.start, piece.stop, part_size) - 1
            for number in range(last):
                cut = part_at(piece.start, piece.stop, part_size, number)
                parts.append((cut.start, cut.end))
            cut = part_at(piece.start, piece.stop, part_size, last)
            start, stop = cut.start, cut.end
        if stop >= 0:
            parts.append((start, stop))
        return parts

    def past(self, int64_t size):
        """The first range, in the caller's order, that ends after ``size`` bytes; None if none.

        Returns its number, start and stop.
        """
        cdef Py_ssize_t index
        cdef Member *found = NULL
        for index in range(self.count):
            if self.members[index].stop > size and (
                    found == NULL or self.members[index].index < found.index):
                found = &self.members[index]
        return None if found == NULL else (found.index, found.start, found.stop)

    def finish(self):
        """All bytes are at their one place: give them to the other ranges that want them."""
        cdef Py_ssize_t index
        with nogil:
            for index in range(self.repeat_count):
                collect_bytes(&self.scatter.table, &self.repeats[index])

    def release(self):
        """Let go of the buffers. Only when nothing is written to them any more."""
        while self.held:
            self.held -= 1
            PyBuffer_Release(&self.views[self.held])
