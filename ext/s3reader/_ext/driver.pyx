"""Drivers: who runs the loop's turns.

A Python thread that waits for bytes runs the loop itself while nobody else does: a lone small read
then costs no switch to another thread and back, and finds its bytes in its own core's cache. The
I/O thread runs it whenever something is on its way that nobody waits for, and when a driver leaves
before all is done. So at any time there is one driver or none; who has work for it queues that
under the lock and calls.

The I/O thread is a plain thread that never touches Python; it sleeps while there is nothing to do.
A Python thread drives without the GIL and touches nothing of Python either.
"""

from s3reader._ext.exchange cimport Exchange, LaneState, is_settled
from s3reader._ext.libcurl cimport curl
from s3reader._ext.loop cimport has_work, rest, shut_down, turn
from s3reader._ext.process cimport enter_undivided, leave_undivided
from s3reader._ext.threads cimport (
    cond_wait, load, monotonic, pthread_cond_broadcast, pthread_mutex_lock, pthread_mutex_unlock)

cdef double FOREVER = 1e18          # monotonic time that never comes
cdef double IDLE = 60.0             # seconds; a call ends the wait, this is for a lost one


cdef void leave_openssl() noexcept nogil:
    """Give back what OpenSSL holds for the calling thread, where no fork is.

    Otherwise it does so when the thread ends, under a lock that every other thread takes at its
    first call; a child that is forked just then would have the lock held for ever.
    """
    enter_undivided()
    curl.thread_stop()
    leave_undivided()


cdef void drive(Loop *loop, Condition there, void *context, double until) noexcept nogil:
    """Run turns until ``there(context)``; under the lock, which is let go meanwhile."""
    cdef double begun
    loop.driven = True
    loop.unattended = False
    while True:
        pthread_mutex_unlock(&loop.lock)
        enter_undivided()
        begun = monotonic()
        turn(loop)
        loop.busy += monotonic() - begun
        leave_undivided()
        pthread_mutex_lock(&loop.lock)
        if loop.stopping or there(context) or loop.now >= until:
            break
        pthread_mutex_unlock(&loop.lock)
        rest(loop, until)
        pthread_mutex_lock(&loop.lock)
    pthread_mutex_unlock(&loop.lock)
    leave_openssl()
    pthread_mutex_lock(&loop.lock)
    loop.driven = False


cdef bint has_come(void *exchange) noexcept nogil:
    """The bytes or the head that are awaited, or the end of it."""
    return is_settled(<Exchange *> exchange) or load(&(<Exchange *> exchange).awaited) < 0


cdef bint is_over(void *lane) noexcept nogil:
    """Nothing of the lane is on its way any more, or something failed."""
    return (<LaneState *> lane).outstanding == 0 or (<LaneState *> lane).failures > 0


cdef bint has_settled(void *lane) noexcept nogil:
    """Enough of a lane that collects can be taken, or nothing is on its way."""
    return ((<LaneState *> lane).settled >= (<LaneState *> lane).enough
            or (<LaneState *> lane).outstanding == 0)


cdef bint is_abandoned(void *lane) noexcept nogil:
    """Nothing of the lane runs any more; what Python is deciding about never will again."""
    return (<LaneState *> lane).outstanding <= (<LaneState *> lane).judging


cdef bint wait_until(
        Loop *loop, pthread_cond_t *changed, Condition there, void *context,
        double seconds) noexcept nogil:
    if there(context) or loop.driven or loop.stopping:
        if loop.unattended:
            call_driver(loop)
        if not there(context) and not loop.stopped:
            cond_wait(changed, &loop.lock, seconds)
        return there(context)
    drive(loop, there, context, monotonic() + seconds)
    if loop.stopping or has_work(loop):
        call_driver(loop)
    return there(context)


cdef void call_driver(Loop *loop) noexcept nogil:
    loop.unattended = False
    if loop.stopped:
        return
    if loop.driven:
        curl.multi_wakeup(loop.multi)
    else:
        pthread_cond_broadcast(&loop.handed)


cdef bint is_idle(void *context) noexcept nogil:
    return not has_work(<Loop *> context)


cdef void *run_thread(void *context) noexcept nogil:
    cdef Loop *loop = <Loop *> context
    pthread_mutex_lock(&loop.lock)
    while loop.driven or not loop.stopping:
        if loop.driven or not has_work(loop):
            cond_wait(&loop.handed, &loop.lock, IDLE)
        else:
            drive(loop, is_idle, loop, FOREVER)
    loop.driven = True
    pthread_mutex_unlock(&loop.lock)
    enter_undivided()
    shut_down(loop)
    leave_undivided()
    leave_openssl()
    return NULL
