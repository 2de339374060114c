"""The multi-handle loop: what the I/O thread owns, and the queues between it and Python."""

from s3reader._ext.exchange cimport Exchange, LaneState, Phase, Slot
from s3reader._ext.libcurl cimport CURLM
from s3reader._ext.threads cimport pthread_cond_t, pthread_mutex_t

cdef struct LoopOptions:            # borrowed from the Fetcher; constant while the loop runs
    const char *user_agent
    const char *ca_bundle           # path, or NULL for libcurl's own
    const char *proxy               # URL, or "" for none whatever the environment says
    long connect_timeout            # milliseconds; 0 for none
    double first_byte_timeout       # seconds; 0 for none
    double stall_timeout            # seconds; 0 for none

cdef struct Loop:
    pthread_mutex_t lock            # guards phases, lanes and the queues
    LaneState *ready_first          # ring of lanes with something to start, served in turn
    LaneState *ready_last
    Exchange *delayed               # retries that wait, unordered, few
    Exchange *reports_first         # FIFO of what Python must decide about
    Exchange *reports_last
    pthread_cond_t reported         # broadcast when a report comes or the loop stops
    bint stopping
    bint stopped                    # everything is settled; the multi handle is going away
    bint cancelling                 # some lane was closed: look through the slots
    int limit                       # transfers at once right now: falls when throttled
    int credit                      # successes since the limit rose
    double throttled                # monotonic time the limit fell last

    # I/O thread only.
    CURLM *multi
    Slot *slots
    int slot_count                  # transfers at once at most
    int running
    double now
    double swept                    # when timeouts were looked at last
    LoopOptions options

# Under loop.lock.
cdef void enqueue(Loop *loop, Exchange *exchange, bint front) noexcept nogil
cdef void settle(Exchange *exchange, Phase phase) noexcept nogil
cdef void close_lane(Loop *loop, LaneState *lane) noexcept nogil
cdef Exchange *pop_report(Loop *loop) noexcept nogil
cdef void lower_limit(Loop *loop) noexcept nogil

# The thread's body; the context is a Loop.
cdef void *run_loop(void *context) noexcept nogil
