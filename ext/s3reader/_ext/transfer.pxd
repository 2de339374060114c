"""A transfer as Python sees it: an exchange with what it owns."""

from s3reader._ext.chunks cimport Chunk, ChunkPool
from s3reader._ext.counters cimport Counters
from s3reader._ext.destination cimport Destination
from s3reader._ext.exchange cimport Exchange, LaneState
from s3reader._ext.libcurl cimport curl_slist
from s3reader._ext.scatter cimport Scatter


cdef class HeaderLines:
    cdef curl_slist *lines          # owned


cdef class SignedRequest:
    cdef readonly bytes url
    cdef HeaderLines headers        # what the lines after the first belong to
    cdef bytes line                 # what the first points to, where the request is signed
    cdef curl_slist node            # the first
    cdef curl_slist *lines          # all of them, as libcurl takes them
    cdef readonly object made_with
    cdef readonly double sign_again


cdef class Lane:
    cdef LaneState state
    cdef readonly Counters counters
    cdef Counters client_counters
    cdef long generation            # of the process whose threads may wait for it
    cdef set members                # of a lane that collects: what was not taken yet, kept alive


cdef class Transfer:
    cdef Exchange exchange
    cdef readonly Lane lane
    cdef readonly Destination destination
    cdef readonly Scatter scatter   # what the exchange's table belongs to
    cdef ChunkPool pool
    cdef readonly SignedRequest signed  # what the exchange's URL and headers point into
    cdef Chunk chunk
    cdef object fetcher             # the Fetcher it was last submitted to, or None
    cdef readonly object request    # what it is part of, for messages and for the policy
    cdef public object error        # the exception, once FAILED
    cdef public object notes        # the policy's memory of what it already tried
