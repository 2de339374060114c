"""The I/O loop: one thread, one libcurl multi handle, no Python.

Actors: Python threads put exchanges into lanes; the loop takes one from each lane in turn, runs as
many at once as the limit allows, and settles them when every byte is in place. Whatever else
happens becomes a report that Python decides about and may put back, so the loop holds no policy
but two mechanical ones: it watches the two timeouts that libcurl does not have (first byte,
stall), and raises the limit of transfers at once again by one for each ``limit`` successes after
Python lowered it.

The lock is never held while libcurl runs, except by the callbacks that wake a waiter.
"""

from libc.stdint cimport int64_t

from s3reader._ext.exchange cimport (
    FAULT_FIRST_BYTE_TIMEOUT, FAULT_NO_MEMORY, FAULT_STALE_SIGNATURE, FAULT_STALL_TIMEOUT,
    PHASE_CANCELLED, PHASE_DONE, PHASE_FAILED, PHASE_QUEUED, PHASE_REPORTED, PHASE_RUNNING,
    exchange_conclude, exchange_count, exchange_prepare, on_body, on_header)
from s3reader._ext.libcurl cimport (
    CURL, CURL_HTTP_VERSION_1_1, CURLE_OK, CURLHEADER_SEPARATE, CURLINFO_PRETRANSFER_TIME_T,
    CURLMOPT_MAXCONNECTS, CURLMOPT_PIPELINING, CURLMSG_DONE, CURLMsg, CURLOPT_BUFFERSIZE,
    CURLOPT_CAINFO, CURLOPT_CONNECTTIMEOUT_MS, CURLOPT_DISALLOW_USERNAME_IN_URL, CURLOPT_ERRORBUFFER,
    CURLOPT_FOLLOWLOCATION, CURLOPT_HEADERFUNCTION, CURLOPT_HEADEROPT, CURLOPT_HTTP09_ALLOWED,
    CURLOPT_HTTP_CONTENT_DECODING, CURLOPT_HTTP_VERSION, CURLOPT_NETRC, CURLOPT_NOPROXY,
    CURLOPT_NOSIGNAL, CURLOPT_PATH_AS_IS, CURLOPT_PROTOCOLS_STR, CURLOPT_PROXY,
    CURLOPT_PROXY_CAINFO, CURLOPT_SUPPRESS_CONNECT_HEADERS, CURLOPT_TCP_KEEPALIVE,
    CURLOPT_USERAGENT, CURLOPT_WRITEFUNCTION, curl, get_microseconds, get_private, set_callback,
    set_long, set_multi_long, set_pointer, set_string)
from s3reader._ext.threads cimport (
    load, monotonic, pthread_cond_broadcast, pthread_mutex_lock, pthread_mutex_unlock)

cdef enum:
    # Large enough that a call into libcurl moves much, small enough to stay in the L2 cache
    # between recv and the copy out: 16 KiB costs half as much CPU again for a byte.
    RECEIVE_BUFFER = 512 * 1024
    SWEEP_MS = 100                  # how often timeouts are looked at; they are seconds long
    IDLE_MS = 60000                 # a wake-up ends the wait; this is for a lost one

cdef double THROTTLE_WINDOW = 0.5   # seconds in which several 503s count as one signal


cdef CURL *open_easy(LoopOptions *options) noexcept nogil:
    """An easy handle with all that is the same for every request."""
    cdef CURL *easy = curl.easy_init()
    cdef int failed = CURLE_OK
    if easy == NULL:
        return NULL
    failed |= set_callback(easy, CURLOPT_WRITEFUNCTION, on_body)
    failed |= set_callback(easy, CURLOPT_HEADERFUNCTION, on_header)
    failed |= set_long(easy, CURLOPT_BUFFERSIZE, RECEIVE_BUFFER)
    failed |= set_long(easy, CURLOPT_NOSIGNAL, 1)
    failed |= set_long(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1)
    failed |= set_long(easy, CURLOPT_HTTP09_ALLOWED, 0)
    failed |= set_long(easy, CURLOPT_HTTP_CONTENT_DECODING, 0)
    failed |= set_long(easy, CURLOPT_PATH_AS_IS, 1)
    failed |= set_long(easy, CURLOPT_FOLLOWLOCATION, 0)
    failed |= set_long(easy, CURLOPT_NETRC, 0)
    failed |= set_long(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1)
    failed |= set_long(easy, CURLOPT_HEADEROPT, CURLHEADER_SEPARATE)
    failed |= set_long(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1)
    failed |= set_long(easy, CURLOPT_TCP_KEEPALIVE, 1)
    failed |= set_long(easy, CURLOPT_CONNECTTIMEOUT_MS, options.connect_timeout)
    failed |= set_string(easy, CURLOPT_PROTOCOLS_STR, b"http,https")
    failed |= set_string(easy, CURLOPT_USERAGENT, options.user_agent)
    failed |= set_string(easy, CURLOPT_PROXY, options.proxy)
    failed |= set_string(easy, CURLOPT_NOPROXY, b"")
    if options.ca_bundle != NULL:
        failed |= set_string(easy, CURLOPT_CAINFO, options.ca_bundle)
        failed |= set_string(easy, CURLOPT_PROXY_CAINFO, options.ca_bundle)
    if failed != CURLE_OK:
        curl.easy_cleanup(easy)
        return NULL
    return easy


# --- The queues; under the lock.

cdef void list_lane(Loop *loop, LaneState *lane) noexcept nogil:
    lane.listed = True
    lane.next = NULL
    if loop.ready_last == NULL:
        loop.ready_first = lane
    else:
        loop.ready_last.next = lane
    loop.ready_last = lane


cdef void enqueue(Loop *loop, Exchange *exchange, bint front) noexcept nogil:
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
        list_lane(loop, lane)


cdef Exchange *dequeue(Loop *loop) noexcept nogil:
    """Take the first exchange of the lane whose turn it is."""
    cdef LaneState *lane
    cdef Exchange *exchange
    while loop.ready_first != NULL:
        lane = loop.ready_first
        loop.ready_first = lane.next
        if loop.ready_first == NULL:
            loop.ready_last = NULL
        lane.listed = False
        exchange = lane.first
        if exchange == NULL:        # its lane was closed meanwhile
            continue
        lane.first = exchange.next
        if lane.first == NULL:
            lane.last = NULL
        else:
            list_lane(loop, lane)
        return exchange
    return NULL


cdef void unlist_lane(Loop *loop, LaneState *lane) noexcept nogil:
    cdef LaneState *before = NULL
    cdef LaneState *at = loop.ready_first
    while at != NULL and at != lane:
        before = at
        at = at.next
    if at == NULL:
        return
    if before == NULL:
        loop.ready_first = lane.next
    else:
        before.next = lane.next
    if loop.ready_last == lane:
        loop.ready_last = before
    lane.listed = False


cdef void settle(Exchange *exchange, Phase phase) noexcept nogil:
    cdef LaneState *lane = exchange.lane
    exchange.phase = phase
    lane.outstanding -= 1
    if phase != PHASE_DONE:
        lane.failures += 1
    # A waiter waits for this exchange, for the lane to empty, or for a failure; nobody is woken
    # when one part of many is done.
    if lane.outstanding <= lane.judging or phase != PHASE_DONE or load(&exchange.awaited) >= 0:
        pthread_cond_broadcast(&lane.changed)


cdef void report(Loop *loop, Exchange *exchange) noexcept nogil:
    if exchange.lane.closed:
        settle(exchange, PHASE_CANCELLED)
        return
    exchange.phase = PHASE_REPORTED
    exchange.next = NULL
    if loop.reports_last == NULL:
        loop.reports_first = exchange
    else:
        loop.reports_last.next = exchange
    loop.reports_last = exchange
    pthread_cond_broadcast(&loop.reported)


cdef Exchange *pop_report(Loop *loop) noexcept nogil:
    """Take the first report; its lane counts it as being judged until it is put back or settled."""
    cdef Exchange *exchange = loop.reports_first
    if exchange != NULL:
        loop.reports_first = exchange.next
        if loop.reports_first == NULL:
            loop.reports_last = NULL
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


cdef void close_lane(Loop *loop, LaneState *lane) noexcept nogil:
    """Settle what a lane has waiting; what runs is settled by the loop's next turn."""
    cdef Exchange *waiting = lane.first
    lane.closed = True
    lane.first = lane.last = NULL
    if lane.listed:
        unlist_lane(loop, lane)
    cancel_in(waiting, lane)
    loop.delayed = cancel_in(loop.delayed, lane)
    loop.reports_first = cancel_in(loop.reports_first, lane)
    loop.reports_last = loop.reports_first
    while loop.reports_last != NULL and loop.reports_last.next != NULL:
        loop.reports_last = loop.reports_last.next
    loop.cancelling = True


cdef void lower_limit(Loop *loop) noexcept nogil:
    """Halve how many transfers run at once, once for each burst of throttled responses."""
    cdef double now = monotonic()
    if now - loop.throttled >= THROTTLE_WINDOW:
        loop.throttled = now
        loop.limit = max(1, loop.limit // 2)
        loop.credit = 0


cdef void raise_limit(Loop *loop) noexcept nogil:
    if loop.limit < loop.slot_count:
        loop.credit += 1
        if loop.credit >= loop.limit:
            loop.credit = 0
            loop.limit += 1


cdef void promote_delayed(Loop *loop) noexcept nogil:
    cdef Exchange *waiting = loop.delayed
    cdef Exchange *next
    loop.delayed = NULL
    while waiting != NULL:
        next = waiting.next
        if waiting.not_before <= loop.now:
            enqueue(loop, waiting, True)
        else:
            waiting.next = loop.delayed
            loop.delayed = waiting
        waiting = next


# --- The thread.

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
                loop.slots[index].easy = open_easy(&loop.options)
                if loop.slots[index].easy == NULL:
                    return NULL
            return &loop.slots[index]
    return NULL


cdef bint start(Loop *loop, Exchange *exchange) noexcept nogil:
    """Begin an attempt; False with the fault set where it cannot even begin."""
    cdef Slot *slot
    exchange.now = &loop.now
    exchange.lock = &loop.lock
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
    loop.cancelling = False
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
    if loop.cancelling:
        doom_closed(loop)
        pthread_mutex_unlock(&loop.lock)
        cancel_doomed(loop)
        pthread_mutex_lock(&loop.lock)
    if loop.delayed != NULL:
        promote_delayed(loop)
    room = loop.limit - loop.running
    while room > 0:
        exchange = dequeue(loop)
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
            report(loop, exchange)
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
            raise_limit(loop)
            settle(exchange, PHASE_DONE)
        else:
            report(loop, exchange)
        pthread_mutex_unlock(&loop.lock)


cdef bint timed_out(Loop *loop, Slot *slot) noexcept nogil:
    cdef Exchange *exchange = slot.exchange
    cdef int64_t sent
    if exchange.head.complete:
        if 0 < loop.options.stall_timeout < loop.now - exchange.activity:
            exchange.fault = FAULT_STALL_TIMEOUT
            return True
        return False
    # Before the request is sent libcurl's own connect timeout rules.
    sent = get_microseconds(slot.easy, CURLINFO_PRETRANSFER_TIME_T)
    if sent > 0 and 0 < loop.options.first_byte_timeout < loop.now - exchange.started - sent * 1e-6:
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
            report(loop, exchange)
            pthread_mutex_unlock(&loop.lock)


cdef int patience(Loop *loop) noexcept nogil:
    """Milliseconds that the loop may sleep when no socket and no wake-up calls."""
    cdef double until = SWEEP_MS if loop.running > 0 else IDLE_MS
    cdef Exchange *waiting
    pthread_mutex_lock(&loop.lock)
    if loop.cancelling or loop.stopping or (loop.ready_first != NULL and loop.running < loop.limit):
        until = 0
    waiting = loop.delayed
    while waiting != NULL:
        until = min(until, max(0.0, (waiting.not_before - loop.now) * 1e3 + 1))
        waiting = waiting.next
    pthread_mutex_unlock(&loop.lock)
    return <int> until


cdef void shut_down(Loop *loop) noexcept nogil:
    """Settle everything and give libcurl's handles back."""
    cdef int index
    cdef Exchange *exchange
    pthread_mutex_lock(&loop.lock)
    doom_closed(loop)
    pthread_mutex_unlock(&loop.lock)
    cancel_doomed(loop)
    pthread_mutex_lock(&loop.lock)
    while True:
        exchange = dequeue(loop)
        if exchange == NULL:
            break
        settle(exchange, PHASE_CANCELLED)
    loop.delayed = cancel_in(loop.delayed, NULL)
    loop.reports_first = cancel_in(loop.reports_first, NULL)
    loop.reports_last = NULL
    # From here on nobody wakes the multi handle up.
    loop.stopped = True
    pthread_cond_broadcast(&loop.reported)
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
        collect_finished(loop)
        sweep(loop)
        curl.multi_poll(loop.multi, NULL, 0, patience(loop), NULL)
        pthread_mutex_lock(&loop.lock)
        stopping = loop.stopping
        pthread_mutex_unlock(&loop.lock)
    shut_down(loop)
    return NULL
