"""Tells a forked child that what it inherited belongs to its parent."""

# Number of forks between the first process and this one. Compared with the value that an object
# kept from its creation: where they differ, threads, locks and sockets are the parent's.
cdef long generation

# Whether the interpreter is about to end: threads that are not daemons have ended.
cdef bint exiting

cdef int end_daemon() except -1

# No fork happens between the two, unless it waited too long. Not to be nested.
cdef void enter_undivided() noexcept nogil
cdef void leave_undivided() noexcept nogil
