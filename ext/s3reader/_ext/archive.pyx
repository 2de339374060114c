"""The ZIP archive that torch writes around a tensor, looked into without unpacking it.

Its records are stored, not compressed, so a record is a range of the archive's bytes. The
directory at the archive's end has each record's size, CRC-32 and place (APPNOTE.TXT 4.3, the ZIP
application note); local headers say where the bytes begin. A checkpoint may have a hundred
thousand such archives of a few kilobytes, which is why this is compiled.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp

from s3reader._ext.landing cimport Landing

cdef enum:
    LOCAL_SIZE = 30
    ENTRY_SIZE = 46
    END_SIZE = 22
    LOCATOR_SIZE = 20
    END64_SIZE = 56
    LARGE_FIELD = 1                 # header id of the extra field with 64-bit numbers
    ENCRYPTED = 1                   # a flag bit
    MOST_RECORDS = 64               # torch writes seven for a tensor
    LARGEST_DIRECTORY = 64 * 1024   # torch's have half a kilobyte

cdef const char *LOCAL = b"PK\x03\x04"
cdef const char *ENTRY = b"PK\x01\x02"
cdef const char *END = b"PK\x05\x06"
cdef const char *LOCATOR = b"PK\x06\x07"
cdef const char *END64 = b"PK\x06\x06"
cdef uint64_t LARGE = 0xFFFFFFFF    # the number is in the extra field


class Unusual(Exception):
    """Not as torch writes it: to be read by torch itself, which knows more."""


class Damaged(Exception):
    """A record's bytes are not those that were saved.

    Parameters
    ----------
    record
        The record.
    found
        CRC-32 of its bytes.
    """

    def __init__(self, record, found):
        super().__init__(record, found)
        self.record = record
        self.found = found


cdef class Record:
    """A stored record: its bytes are ``[start, stop)`` of the archive."""

    cdef readonly str name          # below the archive's name
    cdef readonly uint32_t crc
    cdef readonly int64_t start
    cdef readonly int64_t stop


cdef uint16_t two(const char *at) noexcept nogil:
    return <unsigned char> at[0] | <unsigned char> at[1] << 8


cdef uint64_t four(const char *at) noexcept nogil:
    return two(at) | <uint64_t> two(at + 2) << 16


cdef uint64_t eight(const char *at) noexcept nogil:
    return four(at) | four(at + 4) << 32


def read_directory(Landing landing not None):
    """The archive's records, in the directory's order.

    Parameters
    ----------
    landing
        An archive that is there as a whole.

    Raises
    ------
    Unusual
        There is no such directory, or a record is compressed or encrypted.
    """
    cdef int64_t begin = 0, end = 0, count = 0, at = 0
    cdef uint16_t names, extras, comments
    cdef uint64_t packed, length, header
    cdef bytes directory
    cdef const char *entry
    cdef Record record
    cdef list records = []
    find_directory(landing, &begin, &end, &count)
    directory = landing.read(begin, end)
    for _ in range(count):
        if end - begin - at < ENTRY_SIZE:
            raise Unusual("a directory cut short")
        entry = PyBytes_AS_STRING(directory) + at
        if memcmp(entry, ENTRY, 4) or two(entry + 10) != 0 or two(entry + 8) & ENCRYPTED:
            raise Unusual("a record that is not simply stored")
        packed, length, header = four(entry + 20), four(entry + 24), four(entry + 42)
        names, extras, comments = two(entry + 28), two(entry + 30), two(entry + 32)
        at += ENTRY_SIZE + names + extras + comments
        if at > end - begin:
            raise Unusual("a directory cut short")
        if packed == LARGE or length == LARGE or header == LARGE:
            large_numbers(entry + ENTRY_SIZE + names, extras, &length, &packed, &header)
        if length != packed:
            raise Unusual("a record of two sizes")
        record = Record.__new__(Record)
        record.crc = <uint32_t> four(entry + 16)
        record.start = data_start(landing, header, begin)
        if length > <uint64_t> (begin - record.start):
            raise Unusual("a record outside the archive")
        record.stop = record.start + <int64_t> length
        record.name = name_below(entry + ENTRY_SIZE, names)
        records.append(record)
    return records


cdef str name_below(const char *name, uint16_t length):
    # All records are below the archive's name, which torch takes from the file's.
    cdef uint16_t at = 0
    while at < length and name[at] != b"/":
        at += 1
    at = at + 1 if at < length else 0
    return PyUnicode_DecodeUTF8(name + at, length - at, b"replace")


cdef int find_directory(Landing landing, int64_t *begin, int64_t *end, int64_t *count) except -1:
    """Begin and end of the directory, and its number of entries."""
    cdef char tail[LOCATOR_SIZE + END_SIZE]
    cdef char large[END64_SIZE]
    cdef int64_t size = landing.length, at = size - END_SIZE
    cdef uint64_t first, length, place
    if at < 0:
        raise Unusual("too short for an archive")
    landing.copy(at, size, tail)
    if memcmp(tail, END, 4) or two(tail + 20) != 0:
        raise Unusual("no directory at the end")
    count[0], length, first = two(tail + 10), four(tail + 12), four(tail + 16)
    if at >= LOCATOR_SIZE + END64_SIZE:
        landing.copy(at - LOCATOR_SIZE, at, tail)
        if not memcmp(tail, LOCATOR, 4):
            place = eight(tail + 8)
            if place > <uint64_t> (at - LOCATOR_SIZE - END64_SIZE):
                raise Unusual("a directory outside the archive")
            landing.copy(<int64_t> place, <int64_t> place + END64_SIZE, large)
            if memcmp(large, END64, 4):
                raise Unusual("no directory where it should be")
            if eight(large + 32) > MOST_RECORDS:
                raise Unusual("a directory of an unusual size")
            count[0], length, first = eight(large + 32), eight(large + 40), eight(large + 48)
    if (count[0] > MOST_RECORDS or length > LARGEST_DIRECTORY or first > <uint64_t> size
            or length > <uint64_t> size - first):
        raise Unusual("a directory of an unusual size")
    begin[0] = <int64_t> first
    end[0] = <int64_t> (first + length)
    return 0


cdef int large_numbers(const char *extra, uint16_t extras, uint64_t *length, uint64_t *packed,
                       uint64_t *header) except -1:
    """Put in place of each number that does not fit in 32 bits the one of the extra field."""
    cdef int at = 0, left
    cdef const char *value
    cdef uint64_t *numbers[3]
    numbers[0], numbers[1], numbers[2] = length, packed, header
    while at + 4 <= extras:
        left = min(<int> two(extra + at + 2), extras - at - 4)
        if two(extra + at) == LARGE_FIELD:
            value = extra + at + 4
            for index in range(3):
                if numbers[index][0] == LARGE:
                    if left < 8:
                        raise Unusual("a large record without its size")
                    numbers[index][0] = eight(value)
                    value += 8
                    left -= 8
            return 0
        at += 4 + left
    raise Unusual("a large record without its size")


cdef int64_t data_start(Landing landing, uint64_t header, int64_t limit) except -1:
    cdef char local[LOCAL_SIZE]
    cdef int64_t start
    if limit < LOCAL_SIZE or header > <uint64_t> (limit - LOCAL_SIZE):
        raise Unusual("a record outside the archive")
    landing.copy(<int64_t> header, <int64_t> header + LOCAL_SIZE, local)
    if memcmp(local, LOCAL, 4):
        raise Unusual("no record where it should be")
    start = <int64_t> header + LOCAL_SIZE + two(local + 26) + two(local + 28)
    if start > limit:
        raise Unusual("a record outside the archive")
    return start


def verify(Landing landing not None, list records not None, crc):
    """Compare the records' bytes with the CRC-32 that was saved of them; how many bytes those are.

    Parameters
    ----------
    landing
        The archive.
    records
        From `read_directory`.
    crc
        Called with bytes and the CRC-32 of those before.

    Raises
    ------
    Damaged
        One has another.
    """
    cdef Record record
    cdef int64_t count = 0
    for record in records:
        found = landing.checksum(record.start, record.stop, crc)
        if found != record.crc:
            raise Damaged(record, found)
        count += record.stop - record.start
    return count
