"""Timeouts that libcurl does not have: for the first byte, and for stalls.

A stall is a time without any byte. What is no object's data, and so makes no read go on, must
come as a whole within some time as well: a server that drips an error's text would keep a reader
waiting for ever.
"""

from libc.stdint cimport int64_t

from s3reader._ext.exchange cimport (
    FAULT_FIRST_BYTE_TIMEOUT, FAULT_NONE, FAULT_STALL_TIMEOUT, FAULT_STATUS, Exchange, is_document)
from s3reader._ext.libcurl cimport CURLINFO_PRETRANSFER_TIME_T, get_microseconds

cdef enum:
    DOCUMENT_STALLS = 10            # stall timeouts for all of a page: at 30 s, 14 KB/s of 4 MiB


cdef Fault kept_waiting(Exchange *exchange, double now, double stall_timeout) noexcept nogil:
    """The fault of what is no object's data and comes drop by drop, each in time for the stall's.
    """
    cdef double waited = now - exchange.answered
    if exchange.accepted or stall_timeout <= 0:
        return FAULT_NONE
    if is_document(exchange):
        return FAULT_STALL_TIMEOUT if waited > DOCUMENT_STALLS * stall_timeout else FAULT_NONE
    # The status is known, what came of the body will do.
    return FAULT_STATUS if waited > stall_timeout else FAULT_NONE


cdef Fault timed_out(
        Slot *slot, double now, double first_byte_timeout, double stall_timeout) noexcept nogil:
    cdef int64_t sent
    if slot.head.complete:
        if 0 < stall_timeout < now - slot.exchange.activity:
            return FAULT_STALL_TIMEOUT
        return kept_waiting(slot.exchange, now, stall_timeout)
    # Before the request is sent libcurl's own connect timeout rules.
    sent = get_microseconds(slot.easy, CURLINFO_PRETRANSFER_TIME_T)
    if sent > 0 and 0 < first_byte_timeout < now - slot.started - sent * 1e-6:
        return FAULT_FIRST_BYTE_TIMEOUT
    return FAULT_NONE
