"""How many transfers run at once and how fast new ones start."""

cdef struct Pace:                   # guarded by the loop's lock
    int ceiling                     # transfers at once when nothing is throttled
    int limit                       # transfers at once now
    int credit                      # successes since the limit rose
    double rate                     # starts a second; 0 for as fast as they come
    double rate_before              # that the server bore before it throttled last; starts a second
    double tokens                   # starts that are allowed right now
    double filled                   # monotonic time tokens were added last
    double halved                   # monotonic time the limit was halved last
    double cut                      # monotonic time the rate was cut last
    double window_start             # monotonic time from which answers are counted
    int successes                   # in this window
    int refusals
    int successes_before            # in the window before
    int refusals_before
    double success_rate             # in the window before; a second

# All under the loop's lock; ``now`` is monotonic time.
cdef int pace_room(Pace *pace, int running, double now) noexcept nogil
cdef void pace_bound(Pace *pace, int ceiling) noexcept nogil
cdef void pace_started(Pace *pace) noexcept nogil
cdef void pace_succeeded(Pace *pace, double now) noexcept nogil
cdef void pace_throttled(Pace *pace, double now) noexcept nogil
cdef double pace_wait(Pace *pace, double now) noexcept nogil
