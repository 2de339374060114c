"""Half-open byte ranges ``[start, end)`` for code that runs without the GIL.

Every offset is a count of bytes from the object's first byte, ``0 <= start <= end``. None of
these functions allocates, raises or touches a Python object; callers hand them ranges that
``is_range`` accepts, and a ``part_size`` or ``max_gap`` that is in its documented bounds.
"""

from libc.stdint cimport int64_t


cdef struct Range:
    int64_t start  # first byte
    int64_t end    # the byte after the last one


# Whether [start, end) is a range at all; an empty one is.
cdef bint is_range(int64_t start, int64_t end) noexcept nogil

# Whether a range that starts at `start` belongs with one that ends at `end`:
# at most `max_gap` (>= 0) bytes lie between them, or they touch or overlap.
cdef bint is_near(int64_t end, int64_t start, int64_t max_gap) noexcept nogil

# How many parts of `part_size` (>= 1) bytes cover [start, end); 0 for an empty range.
cdef int64_t part_count(int64_t start, int64_t end, int64_t part_size) noexcept nogil

# The part with that index, 0 <= index < part_count(start, end, part_size).
cdef Range part_at(
    int64_t start, int64_t end, int64_t part_size, int64_t index
) noexcept nogil
