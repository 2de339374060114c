"""Relief: no connection idles while another has long to go.

A long read is shared out evenly, but connections are not equally fast, and an object may turn out
shorter than what was asked for. So whoever asks also offers spares: exchanges of the same object
and destination without a range of their own. When nothing waits for a connection any more, the
exchange that will take longest by its own rate gives the second half of what it has left to a
spare, and drops its connection when it comes to the middle, for the rest of that answer is not
wanted any more. What would be over soon is left alone: a connection is worth more than that. So is
everything while the loop itself is what is slow.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy

from s3reader._ext.exchange cimport PHASE_NEW, PHASE_SPARE, wanted
from s3reader._ext.response cimport ETAG_SIZE

cdef double INTERVAL = 0.02         # seconds between looks
cdef double SATURATED = 0.85        # share of the time at work from which on the loop is slow
cdef double SOON = 0.25             # seconds that are not worth a connection
cdef double ANSWERS = 4.0           # times to first byte that are not either
cdef double MEASURED = 0.05         # seconds that a rate is told from
cdef int64_t LEAST = 128 * 1024     # bytes: two of what a connection's window holds at first


cdef bint relief_due(Relief *relief, double now, double busy) noexcept nogil:
    cdef double elapsed = now - relief.looked
    cdef double worked = busy - relief.busy
    if elapsed < INTERVAL:
        return False
    relief.looked = now
    relief.busy = busy
    return worked < SATURATED * elapsed


cdef void offer_spare(LaneState *lane, Exchange *exchange) noexcept nogil:
    if lane.closed:
        return
    exchange.phase = PHASE_SPARE
    exchange.next = lane.spares
    lane.spares = exchange


cdef void recall_spares(LaneState *lane) noexcept nogil:
    cdef Exchange *spare
    while lane.spares != NULL:
        spare = lane.spares
        lane.spares = spare.next
        spare.phase = PHASE_NEW


cdef double time_left(Slot *slot, double now) noexcept nogil:
    """Seconds that an exchange will go on, beyond what is worth relieving it; 0 for not at all."""
    cdef Exchange *exchange = slot.exchange
    cdef double measured, came
    cdef int64_t remaining
    if (exchange == NULL or slot.lost or slot.rival != NULL or exchange.lane.spares == NULL
            or not exchange.accepted
            or (exchange.destination == NULL and exchange.scatter == NULL)):
        return 0
    measured = now - exchange.answered
    came = exchange.received - exchange.resumed
    remaining = wanted(exchange) - exchange.received
    if measured < MEASURED or came <= 0 or remaining < LEAST:
        return 0
    return max(0.0, remaining * measured / came
               - SOON - ANSWERS * (exchange.answered - slot.started))


cdef Exchange *relieve(Slot *slots, int count, double now) noexcept nogil:
    cdef Slot *longest = NULL
    cdef Exchange *late
    cdef Exchange *spare
    cdef double left, most = 0
    cdef int64_t middle
    cdef int index
    for index in range(count):
        left = time_left(&slots[index], now)
        if left > most:
            most = left
            longest = &slots[index]
    if longest == NULL:
        return NULL
    late = longest.exchange
    middle = (late.start + late.received + late.stop) // 2
    spare = late.lane.spares
    late.lane.spares = spare.next
    late.lane.outstanding += 1
    spare.start = middle
    spare.stop = late.stop
    if late.destination != NULL:
        spare.destination = late.destination + (middle - late.start)
    spare.scatter = late.scatter
    spare.total = late.total
    memcpy(spare.etag, late.etag, ETAG_SIZE)
    late.stop = middle
    late.cut = True
    return spare
