"""Counts of the mechanism: bytes, connections, time to first byte.

The loops of a client's fetchers add to a :class:`Counters`' C struct while the transfers that refer
to it run; Python reads it at any time. Each number is added to atomically, so a snapshot is exact
when nothing is in flight and at most one event of a loop old otherwise.
"""

from libc.math cimport log2
from libc.string cimport memset

from s3reader._ext.threads cimport add


cdef void tally_first_byte(Tally *tally, int64_t microseconds) noexcept nogil:
    cdef int bucket = 0
    if microseconds > 1:
        bucket = <int> (4.0 * log2(<double> microseconds))
    add(&tally.ttfb[min(bucket, TTFB_BUCKETS - 1)], 1)
    add(&tally.ttfb_count, 1)
    add(&tally.ttfb_sum, microseconds)


cdef class Counters:
    """Counts of one reader or one client since it was made."""

    def __cinit__(self):
        memset(&self.tally, 0, sizeof(Tally))
        self.requests = {}
        self.retries = {}

    def count_request(self, str operation not None):
        """Count an HTTP request by its operation."""
        self.requests[operation] = self.requests.get(operation, 0) + 1

    def count_retry(self, str cause not None):
        """Count a repeated request by why it was repeated."""
        self.retries[cause] = self.retries.get(cause, 0) + 1

    def count_requested(self, int64_t count):
        """Count bytes that a caller asked for and got."""
        self.bytes_requested += count

    def snapshot(self):
        """The counts as a dict; times in seconds, quantiles exact to a factor of 2**(1/4)."""
        count = self.tally.ttfb_count
        return {
            "requests": dict(self.requests),
            "retries": dict(self.retries),
            "throttles": self.retries.get("throttle", 0),
            "hedges": self.tally.hedges,
            "bytes_requested": self.bytes_requested,
            "bytes_received": self.tally.bytes_received,
            "connections_opened": self.tally.connections_opened,
            "connections_reused": self.tally.connections_reused,
            "time_to_first_byte": {
                "count": count,
                "mean": self.tally.ttfb_sum * 1e-6 / count if count else 0.0,
                "p50": self._quantile(0.50),
                "p99": self._quantile(0.99),
            },
        }

    cdef double _quantile(self, double share) noexcept:
        cdef int64_t left = <int64_t> (share * self.tally.ttfb_count)
        cdef int bucket
        if self.tally.ttfb_count == 0:
            return 0.0
        for bucket in range(TTFB_BUCKETS):
            left -= self.tally.ttfb[bucket]
            if left < 0:
                break
        return 1e-6 * 2.0 ** ((bucket + 0.5) / 4.0)
