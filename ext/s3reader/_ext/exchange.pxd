"""One HTTP exchange: what is asked, where its bytes go, what came back.

An exchange is written by one side at a time: by Python while its phase is NEW, REPORTED or
settled, by the I/O thread while it is QUEUED or RUNNING. The phase itself changes only under the
loop's lock; that it is settled is set last, and read without. ``received``, ``head_known`` and
``awaited`` are read across threads without the lock and therefore only through the functions of
``threads``: the I/O thread publishes what came and looks once a turn, behind a fence, whether
anyone awaits it.
"""

from libc.stdint cimport int64_t

from s3reader._ext.chunks cimport Block, BlockPool
from s3reader._ext.counters cimport Tally
from s3reader._ext.libcurl cimport CURL, CURL_ERROR_SIZE, curl_slist
from s3reader._ext.response cimport ETAG_SIZE, Head
from s3reader._ext.scatter cimport Table
from s3reader._ext.threads cimport fence, pthread_cond_t

cdef enum:
    OPEN_END = 0x7fffffffffffffff   # a range that goes to the object's end

cdef enum Method:
    GET_RANGE                       # body: bytes of an object, checked and put in their place
    GET_TEXT                        # body: a document for Python, of at most TEXT_LIMIT bytes
    HEAD_ONLY                       # no body

cdef enum Phase:
    PHASE_NEW                       # not submitted
    PHASE_SPARE                     # among its lane's spares, without a range of its own
    PHASE_QUEUED                    # in its lane, or waiting for a retry's delay
    PHASE_RUNNING                   # on an easy handle
    PHASE_REPORTED                  # something unusual came back; Python decides
    PHASE_DONE                      # settled: every byte asked for is in its place
    PHASE_FAILED                    # settled: Transfer.error says why
    PHASE_CANCELLED                 # settled: the destination is not touched any more

cdef enum Fault:
    FAULT_NONE
    FAULT_STATUS                    # the server answered something else than success
    FAULT_TRANSPORT                 # libcurl's result tells
    FAULT_SHORT_BODY
    FAULT_LONG_BODY
    FAULT_BAD_RANGE                 # the response is not of the range that was asked for
    FAULT_CHANGED                   # the response is of another version of the object
    FAULT_BAD_RESPONSE              # a header that none can have
    FAULT_TOO_LARGE                 # head or document above its limit
    FAULT_NO_MEMORY
    FAULT_FIRST_BYTE_TIMEOUT
    FAULT_STALL_TIMEOUT
    FAULT_STALE_SIGNATURE           # never sent: it waited so long that it must be signed again

cdef struct Slot:
    CURL *easy                      # owned by the I/O thread; opened at its first use
    Exchange *exchange              # NULL while idle
    Head *head                      # where this attempt's head goes: the exchange's, or `own`
    Head own                        # of a second attempt, until it wins
    Slot *rival                     # the other attempt, while neither has a head
    bint lost                       # the rival won: what still comes is not looked at
    bint wide                       # counts among those that move a long exchange, see `width`
    bint raised                     # its connection's mark is, see `watermark`
    bint doomed                     # its lane was closed; to be taken off before anything else
    double started                  # monotonic time this attempt started
    Slot *next_idle                 # in the loop's list of idle slots
    Slot *next_touched              # in the list below
    Slot **touched_list             # the loop's, of slots that something came for in this turn
    bint touched                    # in that list

cdef struct LaneState:
    pthread_cond_t changed          # broadcast under the fetcher's lock when a wait may be over
    Exchange *first                 # FIFO of what waits to start
    Exchange *last
    LaneState *next                 # ring of the lanes that have something to start
    bint listed                     # in that ring
    int64_t outstanding             # exchanges that are QUEUED, RUNNING or REPORTED
    int64_t judging                 # of those, the ones Python is deciding about right now
    int64_t failures                # exchanges that are FAILED or CANCELLED
    Exchange *spares                # that may relieve what runs long, see `relief`
    bint closed                     # cancelled for good: what is not settled yet will be CANCELLED
    bint collects                   # has its settled exchanges taken in the order they settled
    Exchange *settled_first         # FIFO of those that were not taken yet
    Exchange *settled_last
    int64_t settled                 # how many those are
    int64_t enough                  # how many a waiter waits for
    Tally *tally                    # counts of the reader this lane belongs to
    Tally *client_tally             # counts of its client

cdef struct Exchange:
    # What is asked. Strings and lists are owned by the Transfer.
    Method method
    const char *url
    curl_slist *headers             # signed headers, shared by the parts of an object
    double sign_again               # monotonic time from which the headers must not be sent
    int64_t start                   # of the object, in bytes; -1 for a suffix not located yet
    int64_t stop                    # half-open; OPEN_END for to the end
    int64_t suffix                  # length of the suffix asked for, where start is -1
    char etag[ETAG_SIZE]            # the version that must come; "" for any, then the one that came
    int64_t total                   # the object's size; -1 while unknown

    # Where the bytes go: the caller's memory in one piece or in many, or a block taken when the
    # length is known.
    char *destination
    const Table *scatter            # owned by the Transfer's Scatter
    Block *block
    BlockPool *pool
    int64_t received                # bytes in place, counted from start (atomic)

    # What came back on the latest attempt.
    Head head
    bint hedged                     # it was sent a second time
    bint cut                        # a spare has the rest: the body goes on behind the stop
    int64_t resumed                 # received when this attempt began
    bint accepted                   # the head fits what was asked: the body goes to its place
    int64_t head_known              # 1 once a head was accepted, on any attempt (atomic)
    char *text                      # an error's body or a document, owned
    size_t text_length
    size_t text_capacity
    Fault fault
    int result                      # CURLcode
    int proxy_status                # of the proxy's answer to CONNECT; 0 where there was none
    char message[CURL_ERROR_SIZE]   # libcurl's words

    # Its way through the fetcher.
    Phase phase
    LaneState *lane
    Exchange *next                  # in the lane, among the delayed, the reports or the settled
    double not_before               # monotonic time of a delayed retry
    double answered                 # monotonic time its head was complete
    double activity                 # monotonic time of the latest sign of life of that attempt
    double progress                 # monotonic time of the latest new byte, or of the first start
    int64_t awaited                 # received at which a waiter wants to be woken; -1 none (atomic)
    const double *now               # the I/O thread's clock, read once a turn
    int64_t *gained                 # bytes that its loop has received
    void *owner                     # the Transfer, borrowed

    # Request lines of this attempt.
    char range_line[64]
    char match_line[ETAG_SIZE + 16]
    curl_slist range_node
    curl_slist match_node
    curl_slist *lines               # those, then the signed headers

# How many bytes were asked for; once a head was accepted, or where start and stop were given.
cdef int64_t wanted(Exchange *exchange) noexcept nogil

# I/O thread only.
cdef bint is_document(Exchange *exchange) noexcept nogil
cdef void exchange_begin(Exchange *exchange) noexcept nogil
cdef bint exchange_conclude(Exchange *exchange, int result) noexcept nogil
cdef bint was_throttled(Exchange *exchange) noexcept nogil   # concluded with too many requests
cdef int slot_prepare(Slot *slot) noexcept nogil
cdef void slot_withdraw(Slot *slot) noexcept nogil
cdef int64_t slot_count(Slot *slot) noexcept nogil
cdef size_t on_header(char *line, size_t size, size_t count, void *context) noexcept nogil
cdef size_t on_body(char *data, size_t size, size_t count, void *context) noexcept nogil


cdef inline bint is_settled(const Exchange *exchange) noexcept nogil:
    """Whether it is over. What it came to is looked at after its phase."""
    cdef bint settled = exchange.phase >= PHASE_DONE
    fence()
    return settled
