"""Who runs the loop's turns: a Python thread that waits, or the I/O thread."""

from s3reader._ext.loop cimport Loop
from s3reader._ext.threads cimport pthread_cond_t

# What a waiter waits for; asked under the lock.
ctypedef bint (*Condition)(void *context) noexcept nogil

# The conditions there are, of an Exchange or a LaneState.
cdef bint has_come(void *exchange) noexcept nogil
cdef bint has_settled(void *lane) noexcept nogil
cdef bint is_over(void *lane) noexcept nogil
cdef bint is_abandoned(void *lane) noexcept nogil

# The I/O thread's body; the context is a Loop.
cdef void *run_thread(void *context) noexcept nogil

# The rest under the lock.

# Have what was queued looked at: by the driver, or by the I/O thread, which then becomes it.
cdef void call_driver(Loop *loop) noexcept nogil

# Wait, at most ``seconds``, until ``there(context)`` holds; ``changed`` is broadcast when it may.
# Whether it holds. Runs the loop meanwhile if nobody does.
cdef bint wait_until(
    Loop *loop, pthread_cond_t *changed, Condition there, void *context,
    double seconds) noexcept nogil
