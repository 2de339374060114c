"""The queues between Python and the I/O thread.

Each stream has a lane, a FIFO of exchanges that wait to start; lanes are served in turn, so a
stream with a thousand parts does not keep another with one waiting. A retry waits among the
delayed until its time has come and then goes to the front of its lane. What Python must decide
about waits among the reports. Everything here runs under the loop's lock and is short.
"""

from s3reader._ext.exchange cimport (
    PHASE_CANCELLED, PHASE_DONE, PHASE_QUEUED, PHASE_REPORTED)
from s3reader._ext.relief cimport recall_spares
from s3reader._ext.threads cimport fence, load, pthread_cond_broadcast
from s3reader._ext.width cimport is_long


cdef void line_up(Line *line, LaneState *lane) noexcept nogil:
    lane.listed = True
    lane.next = NULL
    if line.last == NULL:
        line.first = lane
    else:
        line.last.next = lane
    line.last = lane


cdef LaneState *take_first(Line *line) noexcept nogil:
    cdef LaneState *lane = line.first
    if lane != NULL:
        line.first = lane.next
        if line.first == NULL:
            line.last = NULL
        lane.listed = False
    return lane


cdef void leave(Line *line, LaneState *lane) noexcept nogil:
    """Take a lane out of a line, if it is in it."""
    cdef LaneState *before = NULL
    cdef LaneState *at = line.first
    while at != NULL and at != lane:
        before = at
        at = at.next
    if at == NULL:
        return
    if before == NULL:
        line.first = lane.next
    else:
        before.next = lane.next
    if line.last == lane:
        line.last = before
    lane.listed = False


cdef void enqueue(Queues *queues, Exchange *exchange, bint front) noexcept nogil:
    """Put an exchange into its lane; to the front where it was started before."""
    cdef LaneState *lane = exchange.lane
    exchange.phase = PHASE_QUEUED
    if lane.first == NULL:
        exchange.next = NULL
        lane.first = lane.last = exchange
    elif front:
        exchange.next = lane.first
        lane.first = exchange
    else:
        exchange.next = NULL
        lane.last.next = exchange
        lane.last = exchange
    if not lane.listed:
        line_up(&queues.ready, lane)


cdef Exchange *dequeue(Queues *queues, int long_room) noexcept nogil:
    """Take the first exchange of the lane whose turn it is.

    A lane that is at a long exchange while there is no room for one waits aside; it has the first
    turn when there is.
    """
    cdef LaneState *lane
    cdef Exchange *exchange
    while True:
        lane = take_first(&queues.held) if long_room > 0 else NULL
        if lane == NULL:
            lane = take_first(&queues.ready)
        if lane == NULL:
            return NULL
        exchange = lane.first
        if exchange == NULL:        # its lane was closed meanwhile
            continue
        if long_room <= 0 and is_long(exchange):
            line_up(&queues.held, lane)
            continue
        lane.first = exchange.next
        if lane.first == NULL:
            lane.last = NULL
        else:
            line_up(&queues.ready, lane)
        return exchange


cdef void collect(LaneState *lane, Exchange *exchange) noexcept nogil:
    """Keep a settled exchange for who takes them."""
    exchange.next = NULL
    if lane.settled_first == NULL:
        lane.settled_first = exchange
    else:
        lane.settled_last.next = exchange
    lane.settled_last = exchange
    lane.settled += 1
    if lane.settled == lane.enough:
        pthread_cond_broadcast(&lane.changed)


cdef void settle(Exchange *exchange, Phase phase) noexcept nogil:
    """End an exchange. Nothing of it or of its lane is touched after its phase is set.

    Who looks at the phase does so without the lock, and lets go of both when it is over.
    """
    cdef LaneState *lane = exchange.lane
    lane.outstanding -= 1
    if phase != PHASE_DONE:
        lane.failures += 1
    # Of a closed lane nothing is taken any more, and those it has kept may be gone.
    if lane.collects and not lane.closed:
        collect(lane, exchange)
    # A waiter waits for this exchange, for the lane to empty, or for a failure; nobody is woken
    # when one part of many is done.
    if lane.outstanding <= lane.judging or phase != PHASE_DONE or load(&exchange.awaited) >= 0:
        pthread_cond_broadcast(&lane.changed)
    fence()
    exchange.phase = phase


cdef void report(Queues *queues, Exchange *exchange) noexcept nogil:
    if exchange.lane.closed:
        settle(exchange, PHASE_CANCELLED)
        return
    exchange.phase = PHASE_REPORTED
    exchange.next = NULL
    if queues.reports_last == NULL:
        queues.reports_first = exchange
    else:
        queues.reports_last.next = exchange
    queues.reports_last = exchange
    pthread_cond_broadcast(&queues.reported)


cdef Exchange *pop_report(Queues *queues) noexcept nogil:
    """Take the first report; its lane counts it as being judged until it is put back or settled."""
    cdef Exchange *exchange = queues.reports_first
    if exchange != NULL:
        queues.reports_first = exchange.next
        if queues.reports_first == NULL:
            queues.reports_last = NULL
        exchange.lane.judging += 1
    return exchange


cdef Exchange *cancel_in(Exchange *list, LaneState *lane) noexcept nogil:
    """Settle the exchanges of a lane (NULL: of every lane) in a list; return the list of others."""
    cdef Exchange *kept_first = NULL
    cdef Exchange *kept_last = NULL
    cdef Exchange *next
    while list != NULL:
        next = list.next
        if lane == NULL or list.lane == lane:
            settle(list, PHASE_CANCELLED)
        else:
            if kept_last == NULL:
                kept_first = list
            else:
                kept_last.next = list
            kept_last = list
            list.next = NULL
        list = next
    return kept_first


cdef void close_lane(Queues *queues, LaneState *lane) noexcept nogil:
    """Settle what a lane has waiting; what runs is settled by the loop's next turn."""
    cdef Exchange *waiting = lane.first
    lane.closed = True
    recall_spares(lane)
    if lane.outstanding == 0:
        return
    lane.first = lane.last = NULL
    if lane.listed:
        leave(&queues.ready, lane)
        leave(&queues.held, lane)
    cancel_in(waiting, lane)
    queues.delayed = cancel_in(queues.delayed, lane)
    queues.reports_first = cancel_in(queues.reports_first, lane)
    queues.reports_last = queues.reports_first
    while queues.reports_last != NULL and queues.reports_last.next != NULL:
        queues.reports_last = queues.reports_last.next
    queues.cancelling |= lane.outstanding > lane.judging


cdef void cancel_waiting(Queues *queues) noexcept nogil:
    """Settle everything that waits, in every lane: the loop is stopping."""
    cdef Exchange *exchange
    while True:
        exchange = dequeue(queues, 1)
        if exchange == NULL:
            break
        settle(exchange, PHASE_CANCELLED)
    queues.delayed = cancel_in(queues.delayed, NULL)
    queues.reports_first = cancel_in(queues.reports_first, NULL)
    queues.reports_last = NULL


cdef void delay_until(Queues *queues, Exchange *exchange, double time) noexcept nogil:
    """Have an exchange wait for a monotonic time before it goes into its lane again."""
    exchange.phase = PHASE_QUEUED
    exchange.not_before = time
    exchange.next = queues.delayed
    queues.delayed = exchange


cdef void promote_delayed(Queues *queues, double now) noexcept nogil:
    cdef Exchange *waiting = queues.delayed
    cdef Exchange *next
    queues.delayed = NULL
    while waiting != NULL:
        next = waiting.next
        if waiting.not_before <= now:
            enqueue(queues, waiting, True)
        else:
            waiting.next = queues.delayed
            queues.delayed = waiting
        waiting = next


cdef Exchange *reversed_list(Exchange *list) noexcept nogil:
    cdef Exchange *result = NULL
    cdef Exchange *next
    while list != NULL:
        next = list.next
        list.next = result
        result = list
        list = next
    return result
