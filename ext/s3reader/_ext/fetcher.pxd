"""The fetcher: starts the I/O thread, hands transfers to the loop, waits for them."""

from libc.stdint cimport int64_t

from s3reader._ext.counters cimport Counters
from s3reader._ext.driver cimport Condition
from s3reader._ext.loop cimport Loop
from s3reader._ext.threads cimport pthread_cond_t, pthread_t
from s3reader._ext.transfer cimport Transfer


cdef class Fetcher:
    cdef Loop loop
    cdef pthread_t thread
    cdef bint started
    cdef bint joined                # or being joined
    cdef long generation
    cdef readonly Counters counters
    cdef bytes _user_agent
    cdef bytes _ca_bundle
    cdef bytes _proxy

    cdef int _usable(self) except -1
    cdef int _start(self) except -1
    cdef void _wake(self) noexcept
    cdef int _enqueue(self, Transfer transfer, double delay) except -1
    cdef int _wait(self, pthread_cond_t *changed, Condition there, void *context) except -1
    cdef int _say_cancelled(self) except -1
    cdef int _await(
        self, Transfer transfer, int64_t *value, int64_t least, int64_t awaited) except -1
