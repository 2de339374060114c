"""Low-water marks: how much has to have come on a connection for it to wake the loop."""

from s3reader._ext.exchange cimport Slot

cdef struct Watermark:              # driver only
    double distrusted_until         # monotonic time before which none is raised

# Driver only, ``now`` is monotonic time.

# After bytes came for a slot: raise its connection's mark where much more is coming fast, lower it
# before the end comes near.
cdef void watermark_move(Watermark *watermark, Slot *slot, double now) noexcept nogil

# Before a slot lets go of its connection: an answer that ended early has left its mark there.
cdef void watermark_lower(Slot *slot) noexcept nogil

# Now and then: lower a mark that what came since the last bytes has not reached for long.
cdef void watermark_recall(Watermark *watermark, Slot *slot, double now) noexcept nogil
