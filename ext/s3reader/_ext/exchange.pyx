"""Exchanges: the C side of a transfer, run by the I/O thread without the GIL.

A byte goes from libcurl's receive buffer to its final address once, in :c:func:`on_body`. The
head is checked first: status, Content-Range, length and ETag must be those of the range and the
version that were asked for, so no byte of an error body, of another range or of another version
reaches a destination. An exchange that broke resumes at the byte after the last one received.

The callbacks do bookkeeping only. What is unusual becomes a fault, and Python decides about it.
"""

from libc.stdint cimport int64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport realloc
from libc.string cimport memcpy, strcmp

from s3reader._ext.chunks cimport take_block
from s3reader._ext.counters cimport Tally, tally_first_byte
from s3reader._ext.libcurl cimport (
    CURLE_OK, CURLE_RECV_ERROR, CURLINFO_HTTP_CONNECTCODE, CURLINFO_NUM_CONNECTS,
    CURLINFO_PRETRANSFER_TIME_T, CURLINFO_REQUEST_SIZE, CURLINFO_STARTTRANSFER_TIME_T,
    CURLOPT_ERRORBUFFER,
    CURLOPT_HEADERDATA, CURLOPT_HTTPGET, CURLOPT_HTTPHEADER, CURLOPT_NOBODY, CURLOPT_PRIVATE,
    CURLOPT_URL, CURLOPT_WRITEDATA, curl_slist, get_long, get_microseconds, set_long, set_pointer,
    set_string)
from s3reader._ext.response cimport head_reset, head_take
from s3reader._ext.scatter cimport scatter_bytes
from s3reader._ext.threads cimport add, publish

cdef enum:
    TEXT_LIMIT = 16 * 1024 * 1024   # a page of 1000 keys of 1024 escaped bytes has 3 to 4 MiB
    ERROR_LIMIT = 64 * 1024         # S3's error documents have less than 2 KiB


cdef int64_t wanted(Exchange *exchange) noexcept nogil:
    """Bytes asked for in all; meaningful once a head was accepted or start and stop were given."""
    return exchange.stop - exchange.start


cdef void exchange_begin(Exchange *exchange) noexcept nogil:
    """Forget the attempt before and write the request lines of the next one."""
    cdef curl_slist *headers = exchange.headers
    head_reset(&exchange.head)
    exchange.accepted = exchange.hedged = exchange.cut = False
    exchange.resumed = exchange.received
    exchange.text_length = 0
    exchange.fault = FAULT_NONE
    exchange.result = exchange.proxy_status = 0
    exchange.message[0] = 0
    if exchange.method == GET_RANGE:
        if exchange.start < 0:
            snprintf(exchange.range_line, sizeof(exchange.range_line), b"Range: bytes=-%lld",
                     <long long> exchange.suffix)
        elif exchange.stop == OPEN_END:
            snprintf(exchange.range_line, sizeof(exchange.range_line), b"Range: bytes=%lld-",
                     <long long> (exchange.start + exchange.received))
        else:
            snprintf(exchange.range_line, sizeof(exchange.range_line), b"Range: bytes=%lld-%lld",
                     <long long> (exchange.start + exchange.received),
                     <long long> (exchange.stop - 1))
        exchange.range_node.data = exchange.range_line
        exchange.range_node.next = headers
        headers = &exchange.range_node
    if exchange.etag[0] != 0:
        snprintf(exchange.match_line, sizeof(exchange.match_line), b"If-Match: %s", exchange.etag)
        exchange.match_node.data = exchange.match_line
        exchange.match_node.next = headers
        headers = &exchange.match_node
    exchange.lines = headers


cdef int slot_prepare(Slot *slot) noexcept nogil:
    """Set the slot's easy handle up for an attempt at its exchange."""
    cdef Exchange *exchange = slot.exchange
    cdef CURL *easy = slot.easy
    cdef int failed = CURLE_OK
    if exchange.method == HEAD_ONLY:
        failed |= set_long(easy, CURLOPT_NOBODY, 1)
    else:
        failed |= set_long(easy, CURLOPT_HTTPGET, 1)
    failed |= set_string(easy, CURLOPT_URL, exchange.url)
    failed |= set_pointer(easy, CURLOPT_HTTPHEADER, exchange.lines)
    failed |= set_pointer(easy, CURLOPT_HEADERDATA, slot)
    failed |= set_pointer(easy, CURLOPT_WRITEDATA, slot)
    failed |= set_pointer(easy, CURLOPT_PRIVATE, slot)
    # Two attempts at once never report: whichever fails goes, and the other becomes the only one.
    failed |= set_pointer(easy, CURLOPT_ERRORBUFFER, exchange.message)
    return failed


cdef void own_head(Slot *slot) noexcept nogil:
    """Have the head that this slot got in the exchange, where everyone looks for it."""
    cdef Head other
    if slot.head != &slot.exchange.head:
        other = slot.exchange.head
        slot.exchange.head = slot.own
        slot.own = other
        slot.head = &slot.exchange.head


cdef void slot_withdraw(Slot *slot) noexcept nogil:
    """Leave the exchange to the rival: this attempt came to nothing, or came second."""
    cdef Slot *rival = slot.rival
    slot.rival = rival.rival = NULL
    slot.lost = True
    own_head(rival)
    head_reset(&slot.own)
    slot.head = &slot.own


cdef Fault judge_head(Exchange *exchange) noexcept nogil:
    """Decide whether the body belongs to what was asked; fill in what the head tells about it."""
    cdef Head *head = &exchange.head
    cdef int64_t stop
    if head.etag_malformed:
        return FAULT_BAD_RESPONSE
    if head.etag_too_long:
        return FAULT_TOO_LARGE
    if exchange.etag[0] != 0 and strcmp(exchange.etag, head.etag) != 0:
        return FAULT_CHANGED
    if head.status == 206:
        if head.range_start < 0:
            return FAULT_BAD_RANGE
    else:
        # The whole object, from a server without ranges: fine where all of it was wanted. What has
        # no ETag is no object, but a page that a gateway puts in an object's place.
        if head.content_length < 0 or exchange.received > 0 or exchange.start > 0:
            return FAULT_BAD_RANGE
        if head.etag[0] == 0:
            return FAULT_BAD_RANGE
        head.range_start = 0
        head.range_stop = head.total = head.content_length
    if exchange.total >= 0 and head.total != exchange.total:
        return FAULT_CHANGED
    if exchange.start < 0:
        if head.range_start != max(<int64_t> 0, head.total - exchange.suffix):
            return FAULT_BAD_RANGE
        exchange.start = head.range_start
        exchange.stop = head.total
    stop = min(exchange.stop, head.total)
    if head.range_start != exchange.start + exchange.received or head.range_stop != stop:
        return FAULT_BAD_RANGE
    if head.content_length >= 0 and head.content_length != stop - head.range_start:
        return (FAULT_SHORT_BODY if head.content_length < stop - head.range_start
                else FAULT_LONG_BODY)
    exchange.stop = stop
    exchange.total = head.total
    memcpy(exchange.etag, head.etag, ETAG_SIZE)
    if exchange.destination == NULL and exchange.scatter == NULL and exchange.block == NULL:
        exchange.block = take_block(exchange.pool, max(<int64_t> 1, wanted(exchange)))
        if exchange.block == NULL:
            return FAULT_NO_MEMORY
    return FAULT_NONE


cdef inline void touch(Slot *slot) noexcept nogil:
    """Have the loop look, at the end of its turn, whether somebody awaits what came."""
    if not slot.touched:
        slot.touched = True
        slot.next_touched = slot.touched_list[0]
        slot.touched_list[0] = slot


cdef size_t on_header(char *line, size_t size, size_t count, void *context) noexcept nogil:
    cdef Slot *slot = <Slot *> context
    cdef Exchange *exchange = slot.exchange
    cdef Head *head = slot.head
    cdef bint was_complete = head.complete
    cdef bint good
    if slot.lost:
        return 0
    if head_take(head, line, size * count) != 0:
        if slot.rival != NULL:
            slot_withdraw(slot)
        else:
            exchange.fault = FAULT_TOO_LARGE
        return 0
    if was_complete or not head.complete:
        return size * count
    good = exchange.method == GET_RANGE and head.status in (200, 206)
    if slot.rival != NULL:
        slot_withdraw(slot.rival if good else slot)
        if not good:
            return 0
    exchange.answered = exchange.activity = exchange.now[0]
    if good:
        exchange.fault = judge_head(exchange)
        if exchange.fault != FAULT_NONE:
            return 0
        exchange.accepted = True
        publish(&exchange.head_known, 1)
        touch(slot)
    return size * count


cdef bint is_document(Exchange *exchange) noexcept nogil:
    """Whether the body is a document that was asked for: neither data nor an error."""
    return exchange.method == GET_TEXT and exchange.head.status == 200


cdef size_t keep_text(Exchange *exchange, const char *data, size_t length) noexcept nogil:
    cdef bint document = is_document(exchange)
    cdef size_t limit = TEXT_LIMIT if document else ERROR_LIMIT
    cdef size_t capacity
    cdef char *text
    if exchange.text_length + length > limit:
        exchange.fault = FAULT_TOO_LARGE if document else FAULT_STATUS
        return 0
    if exchange.text_length + length > exchange.text_capacity:
        capacity = max(<size_t> 2 * exchange.text_capacity, exchange.text_length + length)
        text = <char *> realloc(exchange.text, capacity)
        if text == NULL:
            exchange.fault = FAULT_NO_MEMORY
            return 0
        exchange.text = text
        exchange.text_capacity = capacity
    memcpy(exchange.text + exchange.text_length, data, length)
    exchange.text_length += length
    return length


cdef size_t on_body(char *data, size_t size, size_t count, void *context) noexcept nogil:
    cdef Slot *slot = <Slot *> context
    cdef Exchange *exchange = slot.exchange
    cdef size_t length = size * count
    cdef int64_t received
    cdef char *place
    if slot.lost:
        return 0
    received = exchange.received
    exchange.activity = exchange.now[0]
    if not exchange.accepted:
        return keep_text(exchange, data, length)
    if <int64_t> length > wanted(exchange) - received:
        if not exchange.cut:
            exchange.fault = FAULT_LONG_BODY
            return 0
        length = <size_t> (wanted(exchange) - received)
    if exchange.scatter != NULL:
        scatter_bytes(exchange.scatter, exchange.start + received, data, length)
    else:
        place = exchange.destination if exchange.destination != NULL else exchange.block.data
        memcpy(place + received, data, length)
    received += length
    publish(&exchange.received, received)
    touch(slot)
    exchange.progress = exchange.activity
    exchange.gained[0] += length
    add(&exchange.lane.tally.bytes_received, length)
    add(&exchange.lane.client_tally.bytes_received, length)
    # Where a spare has the rest, no more is to come.
    return 0 if exchange.cut and received == wanted(exchange) else length


cdef bint exchange_conclude(Exchange *exchange, int result) noexcept nogil:
    """Say what the attempt came to: True when all is in place, else ``fault`` tells."""
    exchange.result = result
    if exchange.fault != FAULT_NONE:
        return False
    if exchange.accepted and exchange.received == wanted(exchange):
        return True
    if result != CURLE_OK:
        exchange.fault = FAULT_TRANSPORT
    elif not exchange.head.complete:
        # The connection ended within the head: libcurl takes what came of it for a whole one.
        exchange.result = CURLE_RECV_ERROR
        exchange.fault = FAULT_TRANSPORT
    elif exchange.accepted:
        exchange.fault = FAULT_SHORT_BODY
    elif exchange.method != GET_RANGE and exchange.head.status == 200:
        return True
    else:
        exchange.fault = FAULT_STATUS
    return False


cdef bint was_throttled(Exchange *exchange) noexcept nogil:
    cdef int status = exchange.head.status
    return exchange.fault == FAULT_STATUS and (status == 503 or status == 429)


cdef void count_exchange(
        Tally *tally, bint opened, bint reused, int64_t first_byte) noexcept nogil:
    add(&tally.exchanges, 1)
    add(&tally.connections_opened, opened)
    add(&tally.connections_reused, reused)
    if first_byte >= 0:
        tally_first_byte(tally, first_byte)


cdef int64_t slot_count(Slot *slot) noexcept nogil:
    """Count the attempt, the connection it used and how long its first byte took.

    Returns:
        That time in microseconds, less than 0 where there was no answer.
    """
    cdef Exchange *exchange = slot.exchange
    cdef CURL *easy = slot.easy
    cdef int64_t sent = get_microseconds(easy, CURLINFO_PRETRANSFER_TIME_T)
    cdef int64_t first = get_microseconds(easy, CURLINFO_STARTTRANSFER_TIME_T)
    cdef int64_t waited = first - sent if slot.head.complete and sent >= 0 else -1
    cdef bint opened = get_long(easy, CURLINFO_NUM_CONNECTS) > 0
    # Neither where no connection came about: then nothing was sent.
    cdef bint reused = not opened and get_long(easy, CURLINFO_REQUEST_SIZE) > 0
    if not slot.lost:
        exchange.proxy_status = <int> get_long(easy, CURLINFO_HTTP_CONNECTCODE)
    count_exchange(exchange.lane.tally, opened, reused, waited)
    count_exchange(exchange.lane.client_tally, opened, reused, waited)
    return waited
