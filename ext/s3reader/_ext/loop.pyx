"""The I/O loop: one libcurl multi handle, one thread at a time, no Python.

Actors: Python threads put exchanges into lanes; the loop takes one from each lane in turn, runs as
many at once as the pace allows, and settles them when every byte is in place. Whatever else
happens becomes a report that Python decides about and may put back, so the loop holds no policy
but five: it watches the timeouts that libcurl does not have (``timeouts``), sends what is late a
second time where the client asked for that (``hedge``), has idle connections take over from those
that have long to go (``relief``), uses no more of them for what is long than make it faster
(``width``), and takes note of throttling before Python has looked (``pace``).

Which thread runs the loop's turns is not decided here (see ``driver``). The lock is never held
while libcurl runs, and libcurl's callbacks never take it: who waits for bytes or a head is looked
for once a turn, where any came. A turn looks at what something came for, not at every connection.
"""

from libc.math cimport ceil
from libc.stdint cimport int64_t

from s3reader._ext.easy cimport open_easy
from s3reader._ext.exchange cimport (
    FAULT_NO_MEMORY, FAULT_NONE, FAULT_STALE_SIGNATURE, PHASE_CANCELLED, PHASE_DONE, PHASE_RUNNING,
    GET_RANGE, Exchange, Fault, Slot, exchange_begin, exchange_conclude, slot_count, slot_prepare,
    slot_withdraw, was_throttled)
from s3reader._ext.hedge cimport hedge_due, hedge_may, hedge_measure, hedge_started
from s3reader._ext.libcurl cimport (
    CURLE_OK, CURLMOPT_MAXCONNECTS, CURLMOPT_PIPELINING, CURLMSG_DONE, CURLMsg,
    CURLOPT_ERRORBUFFER, curl, get_private, set_multi_long, set_pointer)
from s3reader._ext.pace cimport (
    pace_room, pace_started, pace_succeeded, pace_throttled, pace_wait)
from s3reader._ext.queues cimport (
    cancel_waiting, dequeue, promote_delayed, report, reversed_list, settle)
from s3reader._ext.relief cimport relief_due, relieve
from s3reader._ext.response cimport head_free, head_reset
from s3reader._ext.threads cimport (
    add, fence, load, monotonic, pthread_cond_broadcast, pthread_mutex_lock, pthread_mutex_unlock,
    store)
from s3reader._ext.timeouts cimport timed_out
from s3reader._ext.watermark cimport watermark_lower, watermark_move, watermark_recall
from s3reader._ext.width cimport (
    is_long, width_answered, width_free, width_held, width_room, width_wait)

cdef enum:
    SWEEP_MS = 100                  # how often timeouts are looked at; they are seconds long
    IDLE_MS = 60000                 # a wake-up ends the wait; this is for a lost one


cdef void release_slot(Loop *loop, Slot *slot) noexcept nogil:
    watermark_lower(slot)       # the next answer on the connection may not reach it
    curl.multi_remove_handle(loop.multi, slot.easy)
    # The handle stays, the exchange and its buffer may go.
    set_pointer(slot.easy, CURLOPT_ERRORBUFFER, NULL)
    slot.exchange = NULL
    slot.next_idle = loop.idle
    loop.idle = slot
    loop.running -= 1
    loop.width.running -= slot.wide


cdef void take_off(Loop *loop, Slot *slot) noexcept nogil:
    """Take an attempt off its handle, ended or not, and count it."""
    cdef int64_t waited = slot_count(slot)
    if slot.exchange.method == GET_RANGE:       # others may take the server longer
        width_answered(&loop.width, waited)
    release_slot(loop, slot)


cdef bint attempt(Loop *loop, Exchange *exchange, Slot *first) noexcept nogil:
    """Send an exchange's request; a second time where ``first`` is its attempt that is late."""
    cdef Slot *slot = loop.idle
    if slot == NULL:
        return False
    if slot.easy == NULL:
        slot.easy = open_easy(&loop.easy_options)
        if slot.easy == NULL:
            return False
    slot.exchange = exchange
    slot.lost = slot.doomed = slot.raised = False
    slot.rival = first
    slot.started = loop.now
    slot.head = &exchange.head
    if first != NULL:
        head_reset(&slot.own)
        slot.head = &slot.own
    if slot_prepare(slot) != CURLE_OK or curl.multi_add_handle(loop.multi, slot.easy) != 0:
        slot.exchange = NULL
        return False
    loop.idle = slot.next_idle
    loop.running += 1
    slot.wide = is_long(exchange)
    loop.width.running += slot.wide
    if first != NULL:
        first.rival = slot
        exchange.hedged = True
    return True


cdef bint start(Loop *loop, Exchange *exchange) noexcept nogil:
    """Begin an exchange; False with the fault set where it cannot even begin."""
    exchange.now = &loop.now
    exchange.gained = &loop.gained
    exchange.activity = loop.now
    if exchange.progress == 0:
        exchange.progress = loop.now
    if loop.now >= exchange.sign_again:
        exchange.fault = FAULT_STALE_SIGNATURE
        return False
    exchange_begin(exchange)
    if not attempt(loop, exchange, NULL):
        exchange.fault = FAULT_NO_MEMORY
        return False
    hedge_started(&loop.hedge)
    return True


cdef bint is_unthrottled(Loop *loop) noexcept nogil:
    return loop.pace.rate == 0 and loop.pace.limit == loop.pace.ceiling


cdef bint may_hedge(Loop *loop) noexcept nogil:
    return (hedge_may(&loop.hedge) and loop.running < loop.slot_count and is_unthrottled(loop))


cdef void hedge_late(Loop *loop) noexcept nogil:
    """Send what is late a second time; not while the server asks for fewer requests."""
    cdef int index
    cdef double due
    if not loop.hedge.enabled:
        return
    hedge_measure(&loop.hedge, loop.tally, loop.now)
    for index in range(loop.slot_count):
        if not may_hedge(loop):
            return
        due = hedge_due(&loop.hedge, &loop.slots[index])
        if 0 <= due <= loop.now and attempt(
                loop, loop.slots[index].exchange, &loop.slots[index]):
            loop.hedge.tokens -= 1
            add(&loop.tally.hedges, 1)


cdef void drop_lost(Loop *loop) noexcept nogil:
    """Take off what came second, before the exchange it was for can be settled."""
    cdef int index
    if not loop.hedge.enabled:
        return
    for index in range(loop.slot_count):
        if loop.slots[index].exchange != NULL and loop.slots[index].lost:
            loop.slots[index].doomed = False
            take_off(loop, &loop.slots[index])


cdef void doom_closed(Loop *loop) noexcept nogil:
    """Mark, under the lock, what runs for a closed lane."""
    cdef int index
    cdef Exchange *exchange
    loop.queues.cancelling = False
    for index in range(loop.slot_count):
        exchange = loop.slots[index].exchange
        loop.slots[index].doomed = exchange != NULL and (loop.stopping or exchange.lane.closed)


cdef void cancel_doomed(Loop *loop) noexcept nogil:
    """Take what was marked off its handle; libcurl may call back, so without the lock."""
    cdef int index
    cdef Slot *slot
    cdef Exchange *exchange
    drop_lost(loop)
    for index in range(loop.slot_count):
        slot = &loop.slots[index]
        if slot.doomed:
            slot.doomed = False
            exchange = slot.exchange
            if slot.rival != NULL:  # which is doomed too, and settles it
                slot_withdraw(slot)
                take_off(loop, slot)
                continue
            take_off(loop, slot)
            pthread_mutex_lock(&loop.lock)
            settle(exchange, PHASE_CANCELLED)
            pthread_mutex_unlock(&loop.lock)


cdef void start_ready(Loop *loop) noexcept nogil:
    """One turn at the queues: cancel what was closed, start what may start."""
    cdef Exchange *batch = NULL
    cdef Exchange *exchange
    cdef int room, long_room
    pthread_mutex_lock(&loop.lock)
    if loop.queues.cancelling:
        doom_closed(loop)
        pthread_mutex_unlock(&loop.lock)
        cancel_doomed(loop)
        pthread_mutex_lock(&loop.lock)
    if loop.queues.delayed != NULL:
        promote_delayed(&loop.queues, loop.now)
    room = pace_room(&loop.pace, loop.running, loop.now)
    if loop.queues.held.first == NULL:
        width_free(&loop.width)
    elif room > 0:
        width_held(&loop.width, loop.now, loop.busy, loop.gained)
    long_room = width_room(&loop.width)
    while room > 0:
        exchange = dequeue(&loop.queues, long_room)
        if exchange == NULL:
            break
        long_room -= is_long(exchange)
        pace_started(&loop.pace)
        exchange.phase = PHASE_RUNNING
        exchange.next = batch
        batch = exchange
        room -= 1
    if (room > 0 and loop.running > 0 and loop.queues.held.first == NULL
            and relief_due(&loop.relief, loop.now, loop.busy)):
        while room > 0 and is_unthrottled(loop):
            exchange = relieve(loop.slots, loop.slot_count, loop.now)
            if exchange == NULL:
                break
            exchange.phase = PHASE_RUNNING
            exchange.next = batch
            batch = exchange
            room -= 1
    pthread_mutex_unlock(&loop.lock)
    batch = reversed_list(batch)
    while batch != NULL:
        exchange = batch
        batch = batch.next
        if not start(loop, exchange):
            pthread_mutex_lock(&loop.lock)
            report(&loop.queues, exchange)
            pthread_mutex_unlock(&loop.lock)


cdef void wake_waiter(Loop *loop, Exchange *exchange) noexcept nogil:
    """Wake who awaits a number of bytes, or a head (0), if this turn has brought it."""
    cdef int64_t awaited = load(&exchange.awaited)
    if awaited < 0 or awaited > exchange.received or exchange.head_known == 0:
        return
    store(&exchange.awaited, -1)
    pthread_mutex_lock(&loop.lock)
    pthread_cond_broadcast(&exchange.lane.changed)
    pthread_mutex_unlock(&loop.lock)


cdef void attend_touched(Loop *loop) noexcept nogil:
    """Look after the attempts that something came for in this turn."""
    cdef Slot *slot = loop.touched
    fence()
    while slot != NULL:
        slot.touched = False
        if slot.exchange != NULL:
            wake_waiter(loop, slot.exchange)
            watermark_move(&loop.watermark, slot, loop.now)
        slot = slot.next_touched
    loop.touched = NULL


cdef void collect_finished(Loop *loop) noexcept nogil:
    cdef CURLMsg *message
    cdef Slot *slot
    cdef Exchange *exchange
    cdef int left, result
    cdef bint complete
    while True:
        message = curl.multi_info_read(loop.multi, &left)
        if message == NULL:
            return
        if message.msg != CURLMSG_DONE:
            continue
        slot = <Slot *> get_private(message.easy_handle)
        result = message.data.result
        exchange = slot.exchange
        if slot.rival != NULL:      # failed before its head came, and the rival goes on
            slot_withdraw(slot)
            take_off(loop, slot)
            continue
        take_off(loop, slot)
        complete = exchange_conclude(exchange, result)
        pthread_mutex_lock(&loop.lock)
        if complete:
            pace_succeeded(&loop.pace, loop.now)
            settle(exchange, PHASE_DONE)
        else:
            if was_throttled(exchange):
                pace_throttled(&loop.pace, loop.now)
            report(&loop.queues, exchange)
        pthread_mutex_unlock(&loop.lock)


cdef void sweep(Loop *loop) noexcept nogil:
    """Now and then: look at what nothing came for."""
    cdef int index
    cdef Slot *slot
    cdef Exchange *exchange
    cdef Fault fault
    if loop.running == 0 or loop.now - loop.swept < SWEEP_MS * 1e-3:
        return
    loop.swept = loop.now
    for index in range(loop.slot_count):
        slot = &loop.slots[index]
        exchange = slot.exchange
        if exchange == NULL:
            continue
        watermark_recall(&loop.watermark, slot, loop.now)
        fault = timed_out(slot, loop.now, loop.first_byte_timeout, loop.stall_timeout)
        if fault == FAULT_NONE:
            continue
        if slot.rival != NULL:
            slot_withdraw(slot)
            take_off(loop, slot)
            continue
        exchange.fault = fault
        take_off(loop, slot)
        pthread_mutex_lock(&loop.lock)
        report(&loop.queues, exchange)
        pthread_mutex_unlock(&loop.lock)


cdef double patience(Loop *loop) noexcept nogil:
    """Milliseconds that the loop may sleep when no socket and no wake-up calls."""
    cdef double until = SWEEP_MS if loop.running > 0 else IDLE_MS
    cdef double due
    cdef int index
    cdef Exchange *waiting
    if may_hedge(loop):
        for index in range(loop.slot_count):
            due = hedge_due(&loop.hedge, &loop.slots[index])
            if due >= 0:
                until = min(until, max(0.0, (due - loop.now) * 1e3))
    pthread_mutex_lock(&loop.lock)
    if loop.queues.cancelling or loop.stopping:
        until = 0
    elif loop.running < loop.pace.limit:
        if loop.queues.ready.first != NULL:
            until = min(until, 1e3 * pace_wait(&loop.pace, loop.now))
        if loop.queues.held.first != NULL:
            due = max(width_wait(&loop.width, loop.now), pace_wait(&loop.pace, loop.now))
            until = min(until, due * 1e3)
    waiting = loop.queues.delayed
    while waiting != NULL:
        until = min(until, max(0.0, (waiting.not_before - loop.now) * 1e3 + 1))
        waiting = waiting.next
    pthread_mutex_unlock(&loop.lock)
    return until


cdef void rest(Loop *loop, double until) noexcept nogil:
    cdef double most = (until - loop.now) * 1e3
    curl.multi_poll(loop.multi, NULL, 0, <int> ceil(max(0.0, min(most, patience(loop)))), NULL)


cdef bint has_work(Loop *loop) noexcept nogil:
    return (loop.running > 0 or loop.queues.ready.first != NULL or loop.queues.held.first != NULL
            or loop.queues.delayed != NULL)


cdef void turn(Loop *loop) noexcept nogil:
    cdef int active
    loop.now = monotonic()
    start_ready(loop)
    curl.multi_perform(loop.multi, &active)
    loop.now = monotonic()
    drop_lost(loop)
    attend_touched(loop)
    collect_finished(loop)
    sweep(loop)
    hedge_late(loop)


cdef bint open_loop(Loop *loop) noexcept nogil:
    cdef int index
    loop.multi = curl.multi_init()
    if loop.multi == NULL:
        return False
    set_multi_long(loop.multi, CURLMOPT_PIPELINING, 0)
    set_multi_long(loop.multi, CURLMOPT_MAXCONNECTS, loop.slot_count)
    for index in range(loop.slot_count):
        loop.slots[index].next_idle = loop.idle
        loop.slots[index].touched_list = &loop.touched
        loop.idle = &loop.slots[index]
    return True


cdef void shut_down(Loop *loop) noexcept nogil:
    cdef int index
    pthread_mutex_lock(&loop.lock)
    doom_closed(loop)
    pthread_mutex_unlock(&loop.lock)
    cancel_doomed(loop)
    pthread_mutex_lock(&loop.lock)
    cancel_waiting(&loop.queues)
    # From here on nobody wakes the multi handle up.
    loop.stopped = True
    pthread_cond_broadcast(&loop.queues.reported)
    pthread_mutex_unlock(&loop.lock)
    for index in range(loop.slot_count):
        if loop.slots[index].easy != NULL:
            curl.easy_cleanup(loop.slots[index].easy)
            loop.slots[index].easy = NULL
            head_free(&loop.slots[index].own)
    curl.multi_cleanup(loop.multi)
