"""Hedging: a second request for a part whose answer is late; the first good head wins.

Late is later than nearly all answers of this client lately, told from its own times to first byte.
Each request that starts earns a share of a second one, so hedging cannot add more requests than
that share. Until one of the two has a good head, neither has written anything; then the other is
taken off its connection and whatever it still brings is thrown away (``exchange.on_header``).
"""

from libc.stdint cimport int64_t

from s3reader._ext.counters cimport TTFB_BUCKETS
from s3reader._ext.exchange cimport GET_RANGE

cdef double SHARE = 0.025           # second requests for each first one, at most
cdef double SAVED = 10.0            # second requests that may be saved up
cdef double QUANTILE = 0.95         # of the times to first byte, which...
cdef double FACTOR = 2.0            # ...times this is late
cdef double SOONEST = 0.002         # seconds: below this the loop's own turns are the delay
cdef double INTERVAL = 0.1          # seconds between looks at the times
cdef int FEWEST = 20                # answers that lateness can be told from


cdef void hedge_started(Hedge *hedge) noexcept nogil:
    """A first request was started."""
    hedge.tokens = min(SAVED, hedge.tokens + SHARE)


cdef void hedge_measure(Hedge *hedge, Tally *tally, double now) noexcept nogil:
    cdef int64_t left = <int64_t> (QUANTILE * tally.ttfb_count)
    cdef int bucket
    if tally.ttfb_count < FEWEST or now - hedge.measured < INTERVAL:
        return
    hedge.measured = now
    for bucket in range(TTFB_BUCKETS):
        left -= tally.ttfb[bucket]
        if left < 0:
            break
    hedge.delay = max(SOONEST, FACTOR * 1e-6 * 2.0 ** ((bucket + 1) / 4.0))


cdef bint hedge_may(Hedge *hedge) noexcept nogil:
    """Whether a second request may be sent at all."""
    return hedge.enabled and hedge.tokens >= 1 and hedge.delay > 0


cdef double hedge_due(Hedge *hedge, Slot *slot) noexcept nogil:
    """Monotonic time from which a slot's answer is late; -1 where that does not matter."""
    if (slot.exchange == NULL or slot.lost or slot.exchange.hedged or slot.head.complete
            or slot.exchange.method != GET_RANGE):
        return -1
    return slot.started + hedge.delay
