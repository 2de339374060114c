"""The I/O loop: one thread, one libcurl multi handle, no Python.

Actors: Python threads put exchanges into lanes; the loop takes one from each lane in turn, runs as
many at once as the pace allows, and settles them when every byte is in place. Whatever else
happens becomes a report that Python decides about and may put back, so the loop holds no policy
but one: it watches the two timeouts that libcurl does not have (first byte, stall).

The lock is never held while libcurl runs, except by the callbacks that wake a waiter.
"""

from libc.math cimport ceil
from libc.stdint cimport int64_t

from s3reader._ext.easy cimport open_easy
from s3reader._ext.exchange cimport (
    FAULT_FIRST_BYTE_TIMEOUT, FAULT_NO_MEMORY, FAULT_STALE_SIGNATURE, FAULT_STALL_TIMEOUT,
    PHASE_CANCELLED, PHASE_DONE, PHASE_RUNNING, Exchange, Slot, exchange_conclude, exchange_count,
    exchange_prepare)
from s3reader._ext.libcurl cimport (
    CURL, CURLE_OK, CURLINFO_PRETRANSFER_TIME_T, CURLMOPT_MAXCONNECTS, CURLMOPT_PIPELINING,
    CURLMSG_DONE, CURLMsg, CURLOPT_ERRORBUFFER, curl, get_microseconds, get_private,
    set_multi_long, set_pointer)
from s3reader._ext.pace cimport pace_room, pace_started, pace_succeeded, pace_wait
from s3reader._ext.queues cimport cancel_waiting, dequeue, promote_delayed, report, settle
from s3reader._ext.threads cimport (
    fence, load, monotonic, pthread_cond_broadcast, pthread_mutex_lock, pthread_mutex_unlock,
    store)

cdef enum:
    SWEEP_MS = 100                  # how often timeouts are looked at; they are seconds long
    IDLE_MS = 60000                 # a wake-up ends the wait; this is for a lost one


cdef void release_slot(Loop *loop, Slot *slot) noexcept nogil:
    curl.multi_remove_handle(loop.multi, slot.easy)
    # The handle stays, the exchange and its buffer may go.
    set_pointer(slot.easy, CURLOPT_ERRORBUFFER, NULL)
    slot.exchange = NULL
    loop.running -= 1


cdef void interrupt(Loop *loop, Slot *slot, Exchange *exchange) noexcept nogil:
    """Take a running exchange off its handle before it ended."""
    exchange_count(exchange, slot.easy)
    release_slot(loop, slot)


cdef Slot *idle_slot(Loop *loop) noexcept nogil:
    cdef int index
    for index in range(loop.slot_count):
        if loop.slots[index].exchange == NULL:
            if loop.slots[index].easy == NULL:
                loop.slots[index].easy = open_easy(&loop.easy_options)
                if loop.slots[index].easy == NULL:
                    return NULL
            return &loop.slots[index]
    return NULL


cdef bint start(Loop *loop, Exchange *exchange) noexcept nogil:
    """Begin an attempt; False with the fault set where it cannot even begin."""
    cdef Slot *slot
    exchange.now = &loop.now
    exchange.started = exchange.activity = loop.now
    if exchange.progress == 0:
        exchange.progress = loop.now
    if loop.now >= exchange.sign_again:
        exchange.fault = FAULT_STALE_SIGNATURE
        return False
    slot = idle_slot(loop)
    if slot == NULL or exchange_prepare(exchange, slot.easy) != CURLE_OK:
        exchange.fault = FAULT_NO_MEMORY
        return False
    slot.exchange = exchange
    exchange.slot = slot
    loop.running += 1
    if curl.multi_add_handle(loop.multi, slot.easy) != 0:
        slot.exchange = NULL
        loop.running -= 1
        exchange.fault = FAULT_NO_MEMORY
        return False
    return True


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
    for index in range(loop.slot_count):
        slot = &loop.slots[index]
        if slot.doomed:
            slot.doomed = False
            exchange = slot.exchange
            interrupt(loop, slot, exchange)
            pthread_mutex_lock(&loop.lock)
            settle(exchange, PHASE_CANCELLED)
            pthread_mutex_unlock(&loop.lock)


cdef void start_ready(Loop *loop) noexcept nogil:
    """One turn at the queues: cancel what was closed, start what may start."""
    cdef Exchange *batch = NULL
    cdef Exchange *exchange
    cdef int room
    pthread_mutex_lock(&loop.lock)
    if loop.queues.cancelling:
        doom_closed(loop)
        pthread_mutex_unlock(&loop.lock)
        cancel_doomed(loop)
        pthread_mutex_lock(&loop.lock)
    if loop.queues.delayed != NULL:
        promote_delayed(&loop.queues, loop.now)
    room = pace_room(&loop.pace, loop.running, loop.now)
    while room > 0:
        exchange = dequeue(&loop.queues)
        if exchange == NULL:
            break
        pace_started(&loop.pace)
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


cdef Exchange *reversed_list(Exchange *list) noexcept nogil:
    cdef Exchange *result = NULL
    cdef Exchange *next
    while list != NULL:
        next = list.next
        list.next = result
        result = list
        list = next
    return result


cdef void wake_waiters(Loop *loop) noexcept nogil:
    """Wake those who await a number of bytes, or a head (0), that this turn has brought."""
    cdef int index
    cdef int64_t awaited
    cdef Exchange *exchange
    fence()
    for index in range(loop.slot_count):
        exchange = loop.slots[index].exchange
        if exchange == NULL:
            continue
        awaited = load(&exchange.awaited)
        if awaited < 0 or awaited > exchange.received or exchange.head_known == 0:
            continue
        store(&exchange.awaited, -1)
        pthread_mutex_lock(&loop.lock)
        pthread_cond_broadcast(&exchange.lane.changed)
        pthread_mutex_unlock(&loop.lock)


cdef void collect_finished(Loop *loop) noexcept nogil:
    cdef CURLMsg *message
    cdef Exchange *exchange
    cdef CURL *easy
    cdef int left, result
    cdef bint complete
    while True:
        message = curl.multi_info_read(loop.multi, &left)
        if message == NULL:
            return
        if message.msg != CURLMSG_DONE:
            continue
        easy = message.easy_handle
        result = message.data.result
        exchange = <Exchange *> get_private(easy)
        exchange_count(exchange, easy)
        release_slot(loop, exchange.slot)
        complete = exchange_conclude(exchange, result)
        pthread_mutex_lock(&loop.lock)
        if complete:
            pace_succeeded(&loop.pace, loop.now)
            settle(exchange, PHASE_DONE)
        else:
            report(&loop.queues, exchange)
        pthread_mutex_unlock(&loop.lock)


cdef bint timed_out(Loop *loop, Slot *slot) noexcept nogil:
    cdef Exchange *exchange = slot.exchange
    cdef int64_t sent
    if exchange.head.complete:
        if 0 < loop.stall_timeout < loop.now - exchange.activity:
            exchange.fault = FAULT_STALL_TIMEOUT
            return True
        return False
    # Before the request is sent libcurl's own connect timeout rules.
    sent = get_microseconds(slot.easy, CURLINFO_PRETRANSFER_TIME_T)
    if sent > 0 and 0 < loop.first_byte_timeout < loop.now - exchange.started - sent * 1e-6:
        exchange.fault = FAULT_FIRST_BYTE_TIMEOUT
        return True
    return False


cdef void sweep(Loop *loop) noexcept nogil:
    cdef int index
    cdef Slot *slot
    cdef Exchange *exchange
    if loop.running == 0 or loop.now - loop.swept < SWEEP_MS * 1e-3:
        return
    loop.swept = loop.now
    for index in range(loop.slot_count):
        slot = &loop.slots[index]
        exchange = slot.exchange
        if exchange != NULL and timed_out(loop, slot):
            interrupt(loop, slot, exchange)
            pthread_mutex_lock(&loop.lock)
            report(&loop.queues, exchange)
            pthread_mutex_unlock(&loop.lock)


cdef int patience(Loop *loop) noexcept nogil:
    """Milliseconds that the loop may sleep when no socket and no wake-up calls."""
    cdef double until = SWEEP_MS if loop.running > 0 else IDLE_MS
    cdef Exchange *waiting
    pthread_mutex_lock(&loop.lock)
    if loop.queues.cancelling or loop.stopping:
        until = 0
    elif loop.queues.ready_first != NULL and loop.running < loop.pace.limit:
        until = min(until, 1e3 * pace_wait(&loop.pace, loop.now))
    waiting = loop.queues.delayed
    while waiting != NULL:
        until = min(until, max(0.0, (waiting.not_before - loop.now) * 1e3 + 1))
        waiting = waiting.next
    pthread_mutex_unlock(&loop.lock)
    return <int> ceil(until)


cdef void shut_down(Loop *loop) noexcept nogil:
    """Settle everything and give libcurl's handles back."""
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
    curl.multi_cleanup(loop.multi)


cdef void *run_loop(void *context) noexcept nogil:
    cdef Loop *loop = <Loop *> context
    cdef int active = 0
    cdef bint stopping = False
    set_multi_long(loop.multi, CURLMOPT_PIPELINING, 0)
    set_multi_long(loop.multi, CURLMOPT_MAXCONNECTS, loop.slot_count)
    while not stopping:
        loop.now = monotonic()
        start_ready(loop)
        curl.multi_perform(loop.multi, &active)
        loop.now = monotonic()
        wake_waiters(loop)
        collect_finished(loop)
        sweep(loop)
        curl.multi_poll(loop.multi, NULL, 0, patience(loop), NULL)
        pthread_mutex_lock(&loop.lock)
        stopping = loop.stopping
        pthread_mutex_unlock(&loop.lock)
    shut_down(loop)
    return NULL
