"""Which requests are late enough to be sent a second time."""

from s3reader._ext.counters cimport Tally
from s3reader._ext.exchange cimport Slot

cdef struct Hedge:                  # I/O thread only
    bint enabled
    double tokens                   # second requests that may be sent
    double delay                    # seconds after which an answer is late; 0 while unknown
    double measured                 # monotonic time the delay was told last

cdef void hedge_started(Hedge *hedge) noexcept nogil
cdef void hedge_measure(Hedge *hedge, Tally *tally, double now) noexcept nogil
cdef bint hedge_may(Hedge *hedge) noexcept nogil
cdef double hedge_due(Hedge *hedge, Slot *slot) noexcept nogil
