"""What waits between Python and the I/O thread: lanes, delayed retries, reports."""

from s3reader._ext.exchange cimport Exchange, LaneState, Phase
from s3reader._ext.threads cimport pthread_cond_t

cdef struct Line:                   # of lanes with something to start, served in turn
    LaneState *first
    LaneState *last

cdef struct Queues:                 # guarded by the loop's lock
    Line ready
    Line held                       # those that found no room for the long exchange they are at
    Exchange *delayed               # retries that wait, unordered, few
    Exchange *reports_first         # FIFO of what Python must decide about
    Exchange *reports_last
    pthread_cond_t reported         # broadcast when a report comes or the loop stops
    bint cancelling                 # some lane was closed: look through what runs

# Of exchanges that are in no line.
cdef Exchange *reversed_list(Exchange *list) noexcept nogil

# All under the loop's lock.
cdef void enqueue(Queues *queues, Exchange *exchange, bint front) noexcept nogil
cdef Exchange *dequeue(Queues *queues, int long_room) noexcept nogil
cdef void delay_until(Queues *queues, Exchange *exchange, double time) noexcept nogil
cdef void promote_delayed(Queues *queues, double now) noexcept nogil
cdef void settle(Exchange *exchange, Phase phase) noexcept nogil
cdef void report(Queues *queues, Exchange *exchange) noexcept nogil
cdef Exchange *pop_report(Queues *queues) noexcept nogil
cdef void close_lane(Queues *queues, LaneState *lane) noexcept nogil
cdef void cancel_waiting(Queues *queues) noexcept nogil
