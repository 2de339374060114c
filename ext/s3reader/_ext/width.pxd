"""How many long exchanges run at once."""

from libc.stdint cimport int64_t

from s3reader._ext.exchange cimport Exchange

cdef struct Width:      # guarded by the loop's lock, but for what is written by the driver only
    int allowed                     # long exchanges at once now
    int ceiling                     # and at most
    int running                     # of them; driver only
    int64_t nearest                 # least microseconds to a first byte; 0 for none yet; atomic
    double due                      # monotonic time of the next look; 0 while nothing is held back
    double since                    # monotonic time that look measures from
    double busy                     # seconds that the loop had worked by then
    int64_t received                # bytes that had come by then
    bint flowing                    # some came since something was held back
    int narrower                    # what it was before a trial; 0 for none on its way
    bint settling                   # what was added takes time to begin
    double merit                    # of how it went before that trial, see `merit_of`
    double pause                    # seconds until another trial, after one without a gain
    double paused_until             # monotonic time

cdef bint is_long(const Exchange *exchange) noexcept nogil

cdef int width_for(const Width *width, int64_t length) noexcept nogil

# Under the loop's lock.
cdef void width_bound(Width *width, int ceiling) noexcept nogil

# Driver only: an answer to a GET of an object began after so many microseconds; -1 for none.
cdef void width_answered(Width *width, int64_t waited) noexcept nogil

# Driver only, under the lock: ``now`` is monotonic time, ``busy`` the seconds that the loop has
# worked so far, ``received`` the bytes that came so far.
cdef void width_held(Width *width, double now, double busy, int64_t received) noexcept nogil
cdef int width_room(const Width *width) noexcept nogil
cdef double width_wait(const Width *width, double now) noexcept nogil
cdef void width_free(Width *width) noexcept nogil
