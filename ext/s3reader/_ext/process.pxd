"""Tells a forked child that what it inherited belongs to its parent."""

# Number of forks between the first process and this one. Compared with the value that an object
# kept from its creation: where they differ, threads, locks and sockets are the parent's.
cdef long generation
