"""Low-water marks: how much has to have come on a connection for it to wake the loop.

A loop that is back at its socket as soon as anything has come is woken for every few segments:
13,000 times for a gigabyte on loopback, and the wake-ups cost more than the bytes. So while a long
answer comes fast the kernel is told to wake nobody for less than a mark (``SO_RCVLOWAT``). What
has come by then is still in the processor's cache.

A mark that the rest of an answer does not reach would hold its last bytes back for ever. It is
lowered while two of them are still to come: with TLS some are not in the socket any more but in
OpenSSL's buffer (64 KiB, twice that through a proxy with TLS of its own), and the next answer on
the connection may be a short one. It is lowered as well where the sender slows down or stops, for
a reader may wait for what has come: at most for the time between two recalls. On a kernel that does
not make the receive buffer as large as the mark (Linux before 4.18) it may never be reached, so
after a recall none is raised for some time.
"""

from libc.stdint cimport int64_t

from s3reader._ext.exchange cimport Exchange, wanted
from s3reader._ext.libcurl cimport CURLINFO_ACTIVESOCKET, get_socket

cdef extern from "<sys/socket.h>" nogil:
    enum:
        SOL_SOCKET
        SO_RCVLOWAT
    int setsockopt(int socket, int level, int name, const void *value, unsigned length) noexcept

cdef enum:
    MARK = 256 * 1024               # bytes: half of what libcurl takes at once, and a part of L2

cdef double FAST = 16e6             # bytes/s, on average since the head, below which none is raised
cdef double LATE = 0.05             # seconds without a byte after which one is recalled
cdef double DISTRUST = 2.0          # seconds without marks after that


cdef void set_mark(Slot *slot, bint raised) noexcept nogil:
    cdef int mark = MARK if raised else 1
    cdef int socket = get_socket(slot.easy, CURLINFO_ACTIVESOCKET)
    slot.raised = raised
    if socket >= 0:
        setsockopt(socket, SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof(mark))


cdef void watermark_lower(Slot *slot) noexcept nogil:
    if slot.raised:
        set_mark(slot, False)


cdef void watermark_move(Watermark *watermark, Slot *slot, double now) noexcept nogil:
    cdef Exchange *exchange = slot.exchange
    cdef int64_t came = exchange.received - exchange.resumed
    cdef bint raise_it
    if came < MARK or not exchange.accepted:
        return
    raise_it = (wanted(exchange) - exchange.received >= 2 * MARK
                and came >= FAST * (now - exchange.answered)
                and now >= watermark.distrusted_until)
    if raise_it != slot.raised:
        set_mark(slot, raise_it)


cdef void watermark_recall(Watermark *watermark, Slot *slot, double now) noexcept nogil:
    if slot.raised and now - slot.exchange.activity > LATE:
        set_mark(slot, False)
        watermark.distrusted_until = now + DISTRUST
