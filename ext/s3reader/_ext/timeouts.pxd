"""Timeouts that libcurl does not have: for the first byte, and for stalls."""

from s3reader._ext.exchange cimport Fault, Slot

# What a slot's attempt has waited too long for, FAULT_NONE where it has not. Times in seconds,
# ``now`` monotonic, a timeout of 0 for none.
cdef Fault timed_out(
    Slot *slot, double now, double first_byte_timeout, double stall_timeout) noexcept nogil
