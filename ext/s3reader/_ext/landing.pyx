"""Landing: memory that one item of a file arrives in, when the middle of it is for somebody.

The item is an archive around a tensor's bytes. How many those are is known in advance, where they
begin is nearly always known: so the archive is split as if they began there, the middle goes to
the tensor's own memory and the margins beside it. Was the place another one, `move_to` puts it
right. The I/O thread writes through a `Scatter`; everything here is for when the bytes are there.
"""

cimport cython
from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

from s3reader._ext.scatter cimport Scatter

from s3reader._ext.crc import combine


cdef uint64_t CRC32 = 0xEDB88320    # its polynomial, reflected


# The collector has nothing to find: the owner is memory, which does not refer back.
@cython.no_gc
cdef class Landing:
    """Memory for the bytes of one item.

    Parameters
    ----------
    offset
        Of the item's first byte in its object.
    length
        Of the item, in bytes.
    start, count
        Its bytes ``[start, start + count)`` arrive at ``address``, the others in memory of its own.
    address
        Of ``count`` bytes of writable memory.
    owner
        Keeps that memory alive.
    """

    def __cinit__(self, int64_t offset, int64_t length, int64_t start, int64_t count, address,
                  owner):
        if not 0 <= start <= start + count <= length or offset < 0:
            raise ValueError(f"bytes {start}-{start + count} are not in an item of {length}")
        self.offset = offset
        self.length = length
        self.start = start
        self.stop = start + count
        self.place = <char *> <uintptr_t> address
        self.owner = owner
        if length > count:
            self.margins = <char *> malloc(length - count)
            if self.margins == NULL:
                raise MemoryError

    def __dealloc__(self):
        free(self.margins)

    cdef void copy(self, int64_t start, int64_t stop, char *to) noexcept nogil:
        cdef int64_t edge
        if start < self.start:
            edge = min(stop, self.start)
            memcpy(to, self.margins + start, edge - start)
            to += edge - start
            start = edge
        if start < stop and start < self.stop:
            edge = min(stop, self.stop)
            memcpy(to, self.place + (start - self.start), edge - start)
            to += edge - start
            start = edge
        if start < stop:
            memcpy(to, self.margins + (start - self.stop + self.start), stop - start)

    def read(self, int64_t start, int64_t stop):
        """The item's bytes ``[start, stop)``."""
        if not 0 <= start <= stop <= self.length:
            raise ValueError(f"bytes {start}-{stop} are not in an item of {self.length}")
        cdef bytes data = PyBytes_FromStringAndSize(NULL, stop - start)
        self.copy(start, stop, PyBytes_AS_STRING(data))
        return data

    def sum(self, int64_t start, int64_t stop, crc):
        """Take the CRC-32 of bytes ``[start, stop)``, which have arrived, for `checksum`.

        Of those that are at the owner's. Each byte is given once; what adjoins what came before
        goes on with its sum.

        Parameters
        ----------
        start, stop
            Offsets in the item.
        crc
            Called with bytes and the CRC-32 of those before.
        """
        cdef list run
        start = max(start, self.start)
        stop = min(stop, self.stop)
        if start >= stop:
            return
        if self.runs is None:
            self.runs = []
        for run in self.runs:
            if run[1] == start:
                run[1:] = stop, crc(self.view(start, stop), run[2])
                return
        self.runs.append([start, stop, crc(self.view(start, stop), 0)])

    def checksum(self, int64_t start, int64_t stop, crc):
        """CRC-32 of the item's bytes ``[start, stop)``, when all of the item is there."""
        if not 0 <= start <= stop <= self.length:
            raise ValueError(f"bytes {start}-{stop} are not in an item of {self.length}")
        cdef int64_t first = max(start, self.start), last = min(stop, self.stop)
        if first >= last:
            return crc(self.read(start, stop), 0)
        value = crc(self.read(start, first), 0) if start < first else 0
        for begin, end, found in sorted(self.runs or ()):
            if first <= begin and end <= last:
                if first < begin:
                    value = crc(self.view(first, begin), value)
                value = combine(value, found, end - begin, CRC32, 32)
                first = end
        if first < last:
            value = crc(self.view(first, last), value)
        return crc(self.read(last, stop), value) if last < stop else value

    cdef object view(self, int64_t start, int64_t stop):
        return PyMemoryView_FromMemory(
            self.place + (start - self.start), stop - start, PyBUF_READ)

    def move_to(self, int64_t start):
        """Put right what is at the owner's: it was to be the bytes from ``start`` on."""
        cdef int64_t count = self.stop - self.start, shift = start - self.start, edge
        cdef char *kept
        if not 0 <= start <= self.length - count:
            raise ValueError(f"bytes {start}-{start + count} are not in an item of {self.length}")
        # What comes in from the margins. What goes out to them is lost, nobody reads it again.
        edge = min(count, shift if shift >= 0 else -shift)
        kept = <char *> malloc(max(1, edge))
        if kept == NULL:
            raise MemoryError
        if shift >= 0:
            self.copy(start + count - edge, start + count, kept)
            memmove(self.place, self.place + edge, count - edge)
            memcpy(self.place + (count - edge), kept, edge)
        else:
            self.copy(start, start + edge, kept)
            memmove(self.place + edge, self.place, count - edge)
            memcpy(self.place, kept, edge)
        free(kept)


def scatter(list landings not None):
    """The places of items that lie one after another in their object.

    Parameters
    ----------
    landings
        In the order of their offsets.
    """
    cdef Scatter made = Scatter.__new__(Scatter, [], landings)
    cdef Landing landing
    made.reserve(3 * len(landings))
    for landing in landings:
        if landing.start:
            made.add(landing.offset, landing.offset + landing.start, landing.margins)
        if landing.start < landing.stop:
            made.add(landing.offset + landing.start, landing.offset + landing.stop, landing.place)
        if landing.stop < landing.length:
            made.add(landing.offset + landing.stop, landing.offset + landing.length,
                     landing.margins + landing.start)
    return made
