"""The multi-handle loop: what its driver owns and what it shares with Python."""

from libc.stdint cimport int64_t

from s3reader._ext.easy cimport EasyOptions
from s3reader._ext.counters cimport Tally
from s3reader._ext.exchange cimport Slot
from s3reader._ext.hedge cimport Hedge
from s3reader._ext.libcurl cimport CURLM
from s3reader._ext.pace cimport Pace
from s3reader._ext.queues cimport Queues
from s3reader._ext.relief cimport Relief
from s3reader._ext.threads cimport pthread_cond_t, pthread_mutex_t
from s3reader._ext.watermark cimport Watermark
from s3reader._ext.width cimport Width

cdef struct Loop:
    pthread_mutex_t lock            # guards phases, lanes, queues, pace, and who drives
    Queues queues
    Pace pace
    bint driven                     # some thread runs turns
    bint unattended                 # something was queued that no driver was told about
    pthread_cond_t handed           # broadcast when the I/O thread should look whether to drive
    bint stopping
    bint stopped                    # everything is settled; the multi handle is going away

    # Constant while the loop runs.
    EasyOptions easy_options
    double first_byte_timeout       # seconds; 0 for none
    double stall_timeout            # seconds; 0 for none
    int slot_count                  # transfers at once at most

    # The driver's only.
    CURLM *multi
    Hedge hedge
    Tally *tally                    # of the client
    Slot *slots
    Slot *idle                      # list of the slots without an exchange
    Slot *touched                   # list of those that something came for in this turn
    int running
    double now
    double swept                    # when timeouts were looked at last
    double busy                     # seconds spent in turns so far
    int64_t gained                  # bytes received so far
    Width width
    Relief relief
    Watermark watermark

# False where libcurl refuses, which is for want of memory. Before there is a driver.
cdef bint open_loop(Loop *loop) noexcept nogil

# Driver only: start what may start, move what has come, settle what is complete.
cdef void turn(Loop *loop) noexcept nogil

# Driver only: sleep until a socket, a wake-up, or monotonic time ``until`` calls for another turn.
cdef void rest(Loop *loop, double until) noexcept nogil

# Under the lock, without a driver or by it: whether anything runs or waits to.
cdef bint has_work(Loop *loop) noexcept nogil

# Driver only: settle everything and give libcurl's handles back.
cdef void shut_down(Loop *loop) noexcept nogil
