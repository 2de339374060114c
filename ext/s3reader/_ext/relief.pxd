"""Relief: an idle connection takes over half of what a running exchange has left."""

from s3reader._ext.exchange cimport Exchange, LaneState, Slot

cdef struct Relief:                 # driver only
    double looked                   # monotonic time of the latest look for what runs long
    double busy                     # seconds that the loop had worked by then

# Driver only. Whether it is time for another look, which is then taken for taken.
cdef bint relief_due(Relief *relief, double now, double busy) noexcept nogil

# All under the loop's lock; ``now`` is monotonic time.

# Put an exchange without a range among its lane's spares.
cdef void offer_spare(LaneState *lane, Exchange *exchange) noexcept nogil

# Take back what no use was found for.
cdef void recall_spares(LaneState *lane) noexcept nogil

# A spare that was given half of what runs longest, to be started; NULL where that gains nothing.
cdef Exchange *relieve(Slot *slots, int count, double now) noexcept nogil
