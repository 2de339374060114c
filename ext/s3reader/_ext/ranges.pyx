"""Half-open byte ranges: check them, merge near ones, split long ones into parts.

The fetcher splits what a caller asked for into the parts that travel in parallel; the readers
merge what a checkpoint plan asks for into streams. Both count in the same half-open bytes, so
the arithmetic lives here once: as ``nogil`` functions (see ``ranges.pxd``) and as the Python
functions below, which check their arguments and then call those.
"""

from typing import NamedTuple

from libc.stdint cimport INT64_MAX, int64_t


class Merged(NamedTuple):
    """A range that covers neighbours: its bounds and the first and last member's index."""

    start: int
    end: int
    first: int
    last: int


cdef bint is_range(int64_t start, int64_t end) noexcept nogil:
    return 0 <= start <= end


cdef bint is_near(int64_t end, int64_t start, int64_t max_gap) noexcept nogil:
    return start <= end or start - end <= max_gap


cdef int64_t part_count(int64_t start, int64_t end, int64_t part_size) noexcept nogil:
    # Rounding up by adding part_size - 1 first would overflow near the largest offset.
    cdef int64_t length = end - start
    return length // part_size + (length % part_size != 0)


cdef Range part_at(
    int64_t start, int64_t end, int64_t part_size, int64_t index
) noexcept nogil:
    cdef Range part
    part.start = start + index * part_size
    part.end = end if end - part.start <= part_size else part.start + part_size
    return part


cdef int64_t _offset(object value, str name) except? -1:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int (a byte offset), got {type(value).__name__}")
    if not 0 <= value <= INT64_MAX:
        raise ValueError(f"{name} must be a byte offset from 0 to 2**63 - 1, got {value}")
    return value


cdef Range _range(object bounds) except *:
    cdef Range checked
    start, end = bounds
    checked.start = _offset(start, "start")
    checked.end = _offset(end, "end")
    if not is_range(checked.start, checked.end):
        raise ValueError(f"Invalid range: {start}-{end}")
    return checked


cdef int64_t _max_gap(object gap) except -1:
    if not isinstance(gap, (int, float)) or isinstance(gap, bool):
        raise TypeError(f"gap must be int or float, got {type(gap).__name__}")
    if not gap >= 0:  # NaN too
        raise ValueError(f"gap must be non-negative, got {gap}")
    # Comparing before converting keeps infinity and huge numbers out of int64.
    return INT64_MAX if gap >= INT64_MAX else int(gap)


def validate(start, end):
    """Raise unless ``start`` and ``end`` are ints that bound a range, ``0 <= start <= end``.

    Raises
    ------
    TypeError
        One of them is not an int.
    ValueError
        One is negative or past ``2**63 - 1``, or ``end`` lies before ``start``.
    """
    _range((start, end))


def merge(list ranges not None, gap):
    """Join neighbours that lie at most ``gap`` bytes apart.

    Parameters
    ----------
    ranges
        ``(start, end)`` pairs sorted by ``start``; they may touch, overlap or be empty.
    gap
        Bytes, at least 0. 0 joins what touches or overlaps; ``float("inf")`` joins everything.

    Returns
    -------
    list of Merged
        In order; ``first`` and ``last`` are inclusive indexes into ``ranges``, so the members
        are ``ranges[first:last + 1]`` and every index occurs in exactly one result.
    """
    cdef int64_t max_gap = _max_gap(gap)
    if not ranges:
        return []
    cdef Py_ssize_t first = 0, index = 0
    cdef Range group = _range(ranges[0])
    cdef Range member = group
    cdef int64_t previous_start = group.start
    cdef list merged = []
    for bounds in ranges[1:]:
        index += 1
        member = _range(bounds)
        if member.start < previous_start:
            raise ValueError(
                f"Unsorted ranges: {member.start}-{member.end} comes after one that starts "
                f"at {previous_start}"
            )
        if is_near(group.end, member.start, max_gap):
            group.end = max(group.end, member.end)
        else:
            merged.append(Merged(group.start, group.end, first, index - 1))
            group = member
            first = index
        previous_start = member.start
    merged.append(Merged(group.start, group.end, first, index))
    return merged


def split(start, end, part_size):
    """Cut ``[start, end)`` into parts of ``part_size`` bytes, the last one as long as is left.

    Returns ``(start, end)`` pairs in order that touch and cover the range exactly; none for
    an empty range.
    """
    cdef Range whole = _range((start, end))
    cdef int64_t size = _offset(part_size, "part_size")
    if size == 0:
        raise ValueError("part_size must be at least 1 byte, got 0")
    cdef int64_t index
    cdef Range part
    cdef list parts = []
    for index in range(part_count(whole.start, whole.end, size)):
        part = part_at(whole.start, whole.end, size, index)
        parts.append((part.start, part.end))
    return parts
