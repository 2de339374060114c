"""Width: as many connections for long exchanges as make them faster, and no more.

One connection to a server in the next rack may bring all that one thread can move, above all with
TLS; more of them only cost it memory that is in no cache. One to S3 brings 90 MB/s. So a fetcher
begins with one long exchange and holds the others back for some milliseconds. Then it looks how
much of the time its loop had nothing to do: so much more could have come. Where not even a first
byte came, the server is far away, and every connection is used at once. Where there were answers
before, as to a request for a small object, and none of them began so soon, nothing is held back.
The width stays for the reads that follow.

Short exchanges are not held back: their time is that to the first byte, and passes for many at
once.
"""

from libc.math cimport ceil

from s3reader._ext.exchange cimport GET_RANGE, OPEN_END
from s3reader._ext.threads cimport load, store

cdef int64_t LONG = 1024 * 1024     # bytes from which an exchange is long: 11 ms of 90 MB/s
cdef double FAR = 0.004             # seconds of waiting in which a server nearby begins to answer
cdef double FIRST_LOOK = 0.004      # seconds of bytes coming that a first judgement is told from
cdef double LATER_LOOK = 0.02       # and a later one
cdef double SHORTEST_WAIT = 0.001   # seconds for the loop to sleep between two looks
cdef double SATURATED = 0.85        # share of the time at work from which on more is no gain
cdef double NEAR = 1e9              # bytes/s of a connection to a server that is at hand
cdef double NEARLY_SATURATED = 0.5  # share from which on a trial there costs more than it gains
cdef double SCARCE = 0.15           # and below which it surely is
cdef double GAIN = 1.2              # times the merit that connections must bring about to stay
cdef double FIRST_PAUSE = 0.5       # seconds
cdef double LONGEST_PAUSE = 32.0    # seconds


cdef bint is_long(const Exchange *exchange) noexcept nogil:
    return (exchange.method == GET_RANGE and exchange.start >= 0 and exchange.stop != OPEN_END
            and exchange.stop - exchange.start - exchange.received >= LONG)


cdef bint is_far(const Width *width) noexcept nogil:
    """Whether there were answers, and none began as soon as a server's nearby does."""
    return load(&width.nearest) >= <int64_t> (FAR * 1e6)


cdef int width_now(const Width *width) noexcept nogil:
    """How many long exchanges may run at once."""
    return width.ceiling if is_far(width) else width.allowed


cdef int width_for(const Width *width, int64_t length) noexcept nogil:
    """How many exchanges of so many bytes run at once."""
    return width.ceiling if length < LONG else width_now(width)


cdef void width_bound(Width *width, int ceiling) noexcept nogil:
    """Set how many long exchanges run at once at most; one, to begin with."""
    width.ceiling = ceiling
    width.allowed = max(1, min(width.allowed, ceiling))


cdef int width_room(const Width *width) noexcept nogil:
    """How many long exchanges may start now."""
    return width_now(width) - width.running


cdef double width_wait(const Width *width, double now) noexcept nogil:
    """Seconds after which one that is held back may start, or be looked at again."""
    return 0 if width_room(width) > 0 else max(SHORTEST_WAIT, width.due - now)


cdef void width_free(Width *width) noexcept nogil:
    """Nothing is held back."""
    width.due = 0


cdef void width_answered(Width *width, int64_t waited) noexcept nogil:
    if waited >= 0 and (width.nearest == 0 or waited < width.nearest):
        store(&width.nearest, max(waited, 1))


cdef bint is_filled(const Width *width, double share, double rate) noexcept nogil:
    """Whether there is too little to gain to try more connections.

    What a server at hand brings varies by half from look to look, and a trial takes two of them.
    """
    return share >= (NEARLY_SATURATED if rate >= NEAR * width.allowed else SATURATED)


cdef void look_later(
        Width *width, double now, double busy, int64_t received, double wait) noexcept nogil:
    width.since = now
    width.due = now + wait
    width.busy = busy
    width.received = received


cdef double merit_of(double share, double rate) noexcept nogil:
    """Bytes in a second, times bytes in a second of work: faster at the same cost is better, and
    faster at a higher cost by so much less."""
    return rate * rate / max(share, 1e-3)


cdef void widen(Width *width, double now, double share, double rate) noexcept nogil:
    """Add the connections that fill the loop's time, for a trial where that is not far away."""
    if share >= SCARCE:
        if now < width.paused_until:
            return
        width.narrower = width.allowed
        width.merit = merit_of(share, rate)
        width.settling = True
    width.allowed = <int> min(
        <double> width.ceiling, max(width.allowed + 1, ceil(width.allowed / max(share, 1e-3))))


cdef void judge_trial(Width *width, double now, double merit) noexcept nogil:
    """Keep what was added if it was worth it; otherwise leave it for longer each time."""
    if merit >= GAIN * width.merit:
        width.pause = 0
    else:
        width.allowed = min(width.narrower, width.ceiling)
        width.pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, 2 * width.pause))
        width.paused_until = now + width.pause
    width.narrower = 0


cdef void width_held(Width *width, double now, double busy, int64_t received) noexcept nogil:
    """Long exchanges are held back: see whether more of them are to run."""
    cdef double share, rate, idle
    if is_far(width) or (width.allowed >= width.ceiling and width.narrower == 0):
        return
    if width.due == 0:
        width.flowing = width.settling = False
        width.narrower = 0
        look_later(width, now, busy, received, FAR)
        return
    if not width.flowing and received > width.received:
        width.flowing = True
        look_later(width, now, busy, received, FIRST_LOOK)
        return
    if now < width.due:
        return
    share = (busy - width.busy) / (now - width.since)
    if not width.flowing:
        idle = (1 - share) * (now - width.since)
        if idle < FAR:          # the loop was at work, as with the first handshake of TLS
            width.due = now + FAR - idle
        else:
            width.allowed = width.ceiling
        return
    rate = (received - width.received) / (now - width.since)
    if width.settling:
        width.settling = False
    elif width.narrower > 0:
        judge_trial(width, now, merit_of(share, rate))
    elif not is_filled(width, share, rate):
        widen(width, now, share, rate)
    look_later(width, now, busy, received, LATER_LOOK)
