"""Counts forks, so that objects can tell whether they were made in this very process.

After a fork the child has the parent's memory but not its threads, and shares its sockets.
Every object that owns a lock, a thread or a connection keeps the generation it was made in and
treats those as abandoned once :func:`current` differs.

What the process has only once cannot be abandoned: libcurl's and OpenSSL's own locks. Had a thread
of the parent taken one, nobody would ever let it go in the child, where the next connection would
wait for it. So who calls libcurl does it *undivided*, and a fork waits until nobody does: some
microseconds, as a rule, since a turn of the I/O loop waits for nothing. (What a name's look-up
holds is the C library's; it may take seconds and is not waited for.)
"""

import threading

from s3reader._ext.threads cimport (
    cond_init, cond_wait, monotonic, pthread_atfork, pthread_cond_broadcast, pthread_cond_t,
    pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock)

cdef double PATIENCE = 2.0          # seconds that a fork waits; libcurl may wait for a look-up

cdef struct Gate:
    pthread_mutex_t lock            # guards all that follows
    pthread_cond_t changed          # broadcast when nobody is inside, and when no fork is left
    int inside                      # threads that do something undivided
    int forks                       # that wait for them, or are being carried out

cdef Gate gate


cdef void open_gate() noexcept nogil:
    pthread_mutex_init(&gate.lock, NULL)
    cond_init(&gate.changed)
    gate.inside = gate.forks = 0


cdef void enter_undivided() noexcept nogil:
    pthread_mutex_lock(&gate.lock)
    while gate.forks > 0:
        cond_wait(&gate.changed, &gate.lock, PATIENCE)
    gate.inside += 1
    pthread_mutex_unlock(&gate.lock)


cdef void leave_undivided() noexcept nogil:
    pthread_mutex_lock(&gate.lock)
    gate.inside -= 1
    if gate.inside == 0 and gate.forks > 0:
        pthread_cond_broadcast(&gate.changed)
    pthread_mutex_unlock(&gate.lock)


# Called by fork() itself, before Python in the child has dropped what its other threads held.

cdef void before_fork() noexcept nogil:
    cdef double until = monotonic() + PATIENCE
    pthread_mutex_lock(&gate.lock)
    gate.forks += 1
    while gate.inside > 0 and monotonic() < until:
        cond_wait(&gate.changed, &gate.lock, until - monotonic())
    pthread_mutex_unlock(&gate.lock)


cdef void after_fork_in_parent() noexcept nogil:
    pthread_mutex_lock(&gate.lock)
    gate.forks -= 1
    if gate.forks == 0:
        pthread_cond_broadcast(&gate.changed)
    pthread_mutex_unlock(&gate.lock)


cdef void after_fork_in_child() noexcept nogil:
    global generation
    generation += 1
    open_gate()


open_gate()
if pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) != 0:
    raise MemoryError


def current():
    """The number of forks between the process that first imported the library and this one."""
    return generation


def begin_exit():
    """Take note that this process's interpreter is about to end."""
    global exiting
    exiting = True


cdef int end_daemon() except -1:
    """Raise ``SystemExit`` in a daemon thread of an interpreter that is about to end.

    Such a thread was to end with the process. ``SystemExit`` ends it without a traceback on
    standard error, and yet runs its ``finally`` clauses and lets others join it.
    """
    if exiting and threading.current_thread().daemon:
        raise SystemExit("the interpreter is about to end")
    return 0


def leave():
    """As the interpreter is about to end, end the daemon thread that calls; else do nothing."""
    end_daemon()
