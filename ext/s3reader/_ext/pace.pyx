"""Pace: fewer requests while the server asks for fewer, all of them again soon after.

A server that throttles (503 SlowDown, 429) admits some number of requests a second, whatever
their size, so two things fall when it does. The number of transfers at once is halved, and rises
by one for each ``limit`` successes. New transfers are started at a rate: a share of the successes
a second that were seen when it throttled. The rate creeps back to what the server bore before,
then quadruples each second until it is throttled again or so high that it bounds nothing any more.

Refusals that are no more than a share of the answers do not lower the rate: finding the limit out
takes some, and a server that refuses at random would otherwise bring a client to a halt. Where no
success was seen lately, as at a client's start, no rate can be told. Many refusals do not wait for
their window's end: a client with much to ask for at once can have it all refused by then.
"""

cdef double CUT_WINDOW = 0.5        # seconds in which several refusals count as one signal
cdef double MEASURE_WINDOW = 0.5    # seconds over which successes are counted
cdef double STALE = 1.0             # seconds after which a window says nothing about now
cdef double CUT = 0.7               # share of the rate kept at a cut, as CUBIC keeps of its window
cdef double CREEP = 0.1             # share of the earlier rate won back a second
cdef double GROWTH = 4.0            # times that the rate grows a second beyond the earlier one
cdef double TOLERATED = 0.25        # share of answers that may be refusals without a cut
cdef int FEWEST = 3                 # refusals that a share is told from
cdef int MANY = 10                  # the same while the limit's latest fall may yet show
cdef double BURST = 0.1             # seconds' worth of starts that may come at once
# Starts a second: what a quiet client was seen to do is no limit of the server's, so a lone refusal
# must not cut it to that. S3 bears thousands a second; below this the retries' own delays do.
cdef double LEAST = 20.0
cdef double UNBOUNDED = 1e5         # starts a second that no client reaches: no rate any more


cdef void measure(Pace *pace, double now) noexcept nogil:
    cdef double elapsed = now - pace.window_start
    if elapsed < MEASURE_WINDOW:
        return
    if elapsed >= STALE:
        pace.successes = pace.refusals = 0
    pace.success_rate = pace.successes / elapsed
    pace.successes_before = pace.successes
    pace.refusals_before = pace.refusals
    pace.successes = pace.refusals = 0
    pace.window_start = now


cdef void refill(Pace *pace, double now) noexcept nogil:
    cdef double elapsed = min(now - pace.filled, 1.0)
    pace.filled = now
    if pace.rate < pace.rate_before:
        pace.rate += CREEP * pace.rate_before * elapsed
    else:
        pace.rate *= GROWTH ** elapsed
    if pace.rate > UNBOUNDED:
        pace.rate = 0
    pace.tokens = min(pace.tokens + pace.rate * elapsed, max(1.0, pace.rate * BURST))


cdef int pace_room(Pace *pace, int running, double now) noexcept nogil:
    """How many transfers may start now."""
    cdef int room = pace.limit - running
    if pace.rate == 0 or room <= 0:
        return room
    refill(pace, now)
    return room if pace.rate == 0 else min(room, <int> pace.tokens)


cdef void pace_bound(Pace *pace, int ceiling) noexcept nogil:
    """Set how many transfers run at once when nothing is throttled."""
    pace.limit = ceiling if pace.limit == pace.ceiling else min(pace.limit, ceiling)
    pace.ceiling = ceiling


cdef void pace_started(Pace *pace) noexcept nogil:
    if pace.rate > 0:
        pace.tokens -= 1


cdef void pace_succeeded(Pace *pace, double now) noexcept nogil:
    measure(pace, now)
    pace.successes += 1
    if pace.limit < pace.ceiling:
        pace.credit += 1
        if pace.credit >= pace.limit:
            pace.credit = 0
            pace.limit += 1


cdef void pace_throttled(Pace *pace, double now) noexcept nogil:
    """Take note that the server refused a request because there were too many."""
    cdef double borne
    cdef int refusals, answers, fewest = MANY
    measure(pace, now)
    pace.refusals += 1
    if now - pace.halved >= CUT_WINDOW:
        pace.halved = now
        pace.limit = max(1, pace.limit // 2)
        pace.credit = 0
        fewest = FEWEST
    if now - pace.cut < CUT_WINDOW:
        return
    refusals = pace.refusals + pace.refusals_before
    answers = refusals + pace.successes + pace.successes_before
    if refusals < fewest or refusals < TOLERATED * answers:
        return
    borne = max(pace.success_rate, pace.successes / max(now - pace.window_start, 0.1))
    if pace.rate > 0:
        borne = min(borne, pace.rate) if borne > 0 else pace.rate
    elif borne > 0:
        pace.tokens = 0
        pace.filled = now
    else:
        return
    pace.cut = now
    pace.rate_before = max(LEAST, borne)
    pace.rate = CUT * pace.rate_before


cdef double pace_wait(Pace *pace, double now) noexcept nogil:
    """Seconds until the rate lets another transfer start; 0 where it does already."""
    if pace.rate == 0:
        return 0
    return max(0.0, (1.0 - pace.tokens) / pace.rate - (now - pace.filled))
