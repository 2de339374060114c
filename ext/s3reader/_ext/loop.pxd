"""The multi-handle loop: what the I/O thread owns and what it shares with Python."""

from s3reader._ext.easy cimport EasyOptions
from s3reader._ext.counters cimport Tally
from s3reader._ext.exchange cimport Slot
from s3reader._ext.hedge cimport Hedge
from s3reader._ext.libcurl cimport CURLM
from s3reader._ext.pace cimport Pace
from s3reader._ext.queues cimport Queues
from s3reader._ext.threads cimport pthread_mutex_t

cdef struct Loop:
    pthread_mutex_t lock            # guards phases, lanes, queues and pace
    Queues queues
    Pace pace
    bint stopping
    bint stopped                    # everything is settled; the multi handle is going away

    # Constant while the loop runs.
    EasyOptions easy_options
    double first_byte_timeout       # seconds; 0 for none
    double stall_timeout            # seconds; 0 for none
    int slot_count                  # transfers at once at most

    # I/O thread only.
    CURLM *multi
    Hedge hedge
    Tally *tally                    # of the client
    Slot *slots
    int running
    double now
    double swept                    # when timeouts were looked at last

# The thread's body; the context is a Loop.
cdef void *run_loop(void *context) noexcept nogil
