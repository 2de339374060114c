"""What is counted about transfers, by the I/O thread, without a lock."""

from libc.stdint cimport int64_t

cdef enum:
    # Time to first byte falls into four buckets an octave, from 1 us to 2**26 us (67 s).
    TTFB_BUCKETS = 104

cdef struct Tally:
    int64_t bytes_received      # body bytes that went to a destination
    int64_t exchanges           # HTTP requests that were started
    int64_t connections_opened
    int64_t connections_reused
    int64_t hedges              # of the exchanges, second requests for what was late
    int64_t ttfb_count
    int64_t ttfb_sum            # microseconds
    int64_t ttfb[TTFB_BUCKETS]  # counts

cdef void tally_first_byte(Tally *tally, int64_t microseconds) noexcept nogil

cdef class Counters:
    # Added to atomically, by the loops of the fetchers whose transfers are counted here.
    cdef Tally tally
    # By Python threads, with the GIL held throughout.
    cdef dict requests              # HTTP requests by operation
    cdef dict retries               # of those, repeats by cause
    cdef int64_t bytes_requested    # bytes handed to callers

    cdef double _quantile(self, double share) noexcept
