"""Transfers: one HTTP exchange each, from the request to its bytes in their place.

A :class:`Transfer` is made and signed by Python, carried out by the fetcher's I/O thread (see
``exchange``), and looked at by Python again when it is settled or when something unusual came
back. It owns what its exchange points to.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from s3reader._ext cimport process
from s3reader._ext.exchange cimport (
    FAULT_BAD_RANGE, FAULT_BAD_RESPONSE, FAULT_CHANGED, FAULT_FIRST_BYTE_TIMEOUT, FAULT_LONG_BODY,
    FAULT_NO_MEMORY, FAULT_SHORT_BODY, FAULT_STALE_SIGNATURE, FAULT_STALL_TIMEOUT, FAULT_STATUS,
    FAULT_TOO_LARGE, FAULT_TRANSPORT, GET_RANGE, GET_TEXT, HEAD_ONLY, OPEN_END, PHASE_DONE,
    PHASE_FAILED, PHASE_NEW, PHASE_REPORTED, is_settled, wanted)
from s3reader._ext.libcurl cimport curl, curl_slist
from s3reader._ext.response cimport ETAG_SIZE, has_control, head_free
from s3reader._ext.threads cimport cond_init, load, pthread_cond_destroy, store


cdef bytes header_line(str name, str value):
    """A header as libcurl takes it; refused where it would begin another one."""
    cdef bytes line = (f"{name}: {value}" if value else f"{name};").encode("utf-8")
    if b"\r" in line or b"\n" in line or b"\0" in line:
        raise ValueError(f"header {name} contains a line break or a NUL character")
    return line


cdef class HeaderLines:
    """Header lines in the form libcurl takes; shared by the requests that send the same ones.

    Parameters
    ----------
    headers
        Pairs of name and value.
    """

    def __cinit__(self, headers):
        cdef curl_slist *longer
        for name, value in headers:
            longer = curl.slist_append(self.lines, header_line(name, value))
            if longer == NULL:
                raise MemoryError
            self.lines = longer

    def __dealloc__(self):
        if self.lines != NULL:
            curl.slist_free_all(self.lines)


cdef class SignedRequest:
    """URL and header lines of a request; shared by an object's parts.

    Parameters
    ----------
    url
        Encoded as it goes on the wire.
    headers
        What is sent besides the signature; many requests may share them.
    sign_again
        Monotonic time from which the signature must not be used.
    made_with
        What the signer used, for the policy: any object.
    authorization
        The signature, as the header of that name has it; None where nothing is signed.
    """

    def __cinit__(self, bytes url not None, HeaderLines headers not None, double sign_again,
                  made_with=None, str authorization=None):
        self.url = url
        self.headers = headers
        self.sign_again = sign_again
        self.made_with = made_with
        self.lines = headers.lines
        if authorization is not None:
            self.line = header_line("Authorization", authorization)
            self.node.data = self.line
            self.node.next = headers.lines
            self.lines = &self.node


# The collector would clear the counters while the I/O thread counts; nothing here closes a cycle.
@cython.no_gc
cdef class Lane:
    """The transfers of one stream: started in order, waited for together, counted together.

    Parameters
    ----------
    counters, client_counters
        Where they are counted.
    collects
        Keep the transfers until ``Fetcher.wait_some`` gives them back, as they are settled.
    """

    def __cinit__(self, Counters counters not None, Counters client_counters not None,
                  bint collects=False):
        memset(&self.state, 0, sizeof(LaneState))
        self.state.collects = collects
        self.members = set() if collects else None
        cond_init(&self.state.changed)
        self.counters = counters
        self.client_counters = client_counters
        self.state.tally = &counters.tally
        self.state.client_tally = &client_counters.tally
        self.generation = process.generation

    def __dealloc__(self):
        # After a fork it may have waiters that this process does not have: destroying it would
        # wait for them.
        if self.generation == process.generation:
            pthread_cond_destroy(&self.state.changed)

    def count_request(self, str operation not None):
        """Count an HTTP request by its operation, for the reader and for its client."""
        self.counters.count_request(operation)
        self.client_counters.count_request(operation)

    def count_retry(self, str cause not None):
        """Count a repeated request by why it was repeated, for the reader and for its client."""
        self.counters.count_retry(cause)
        self.client_counters.count_retry(cause)

    @property
    def outstanding(self):
        """How many transfers are on their way."""
        return self.state.outstanding


@cython.no_gc_clear
cdef class Transfer:
    """One HTTP exchange.

    Parameters
    ----------
    lane
        What it is started, waited for and counted with.
    request
        What it is part of; kept for the policy and for messages.
    pool
        Where a block comes from when there is no destination.
    start, stop
        Half-open range in bytes; ``start`` None for the last ``stop`` bytes, ``stop`` None for to
        the end. Both None for an exchange without a range (a document).
    destination, offset
        The caller's memory and where in it the first byte goes.
    scatter
        In place of a destination: where each byte goes.
    etag, total
        Version and size that the object must have, where they are known already.
    head
        Ask for the head only.
    """

    def __cinit__(self, Lane lane not None, request, ChunkPool pool not None, start=None,
                  stop=None, *, Destination destination=None, Py_ssize_t offset=0,
                  str etag="", total=None,
                  bint head=False, Scatter scatter=None):
        cdef bytes encoded = etag.encode("latin-1")
        memset(&self.exchange, 0, sizeof(Exchange))
        self.lane = lane
        self.request = request
        self.pool = pool
        self.destination = destination
        self.exchange.owner = <void *> self
        self.exchange.lane = &lane.state
        self.exchange.pool = &pool.pool
        self.exchange.awaited = -1
        if head:
            self.exchange.method = HEAD_ONLY
        elif start is None and stop is None:
            self.exchange.method = GET_TEXT
        else:
            self.exchange.method = GET_RANGE
            self.exchange.start = -1 if start is None else start
            self.exchange.suffix = stop if start is None else 0
            self.exchange.stop = OPEN_END if stop is None or start is None else stop
        if len(encoded) >= ETAG_SIZE:
            raise ValueError(f"an ETag has at most {ETAG_SIZE - 1} bytes, not {len(encoded)}")
        if has_control(encoded, len(encoded)):
            raise ValueError("an ETag has no control characters: they could begin another header")
        memcpy(self.exchange.etag, <const char *> encoded, len(encoded) + 1)
        self.exchange.total = -1 if total is None else total
        if destination is not None:
            length = (0 if stop is None else stop) - (0 if start is None else start)
            if stop is None or not 0 <= length <= len(destination) - offset or offset < 0:
                raise ValueError(f"{length} bytes do not fit at {offset} of {len(destination)}")
            self.exchange.destination = destination.at(offset)
        elif scatter is not None:
            self.scatter = scatter
            self.exchange.scatter = &scatter.table

    def __dealloc__(self):
        # The I/O thread refers to what is in flight but keeps nothing alive. Streams cancel their
        # lane before they let go; this is for a transfer lost on the way to its stream.
        if self.fetcher is not None and PHASE_NEW < self.exchange.phase < PHASE_DONE:
            self.fetcher.cancel(self.lane)
        if self.exchange.block != NULL and self.chunk is None:
            self.pool.give_back(self.exchange.block)
        free(self.exchange.text)
        head_free(&self.exchange.head)

    def sign(self, SignedRequest signed not None):
        """Set where the next attempt goes and with which headers."""
        if self.exchange.phase not in (PHASE_NEW, PHASE_REPORTED):
            raise RuntimeError("a transfer on its way cannot be signed")
        self.signed = signed
        self.exchange.url = signed.url
        self.exchange.headers = signed.lines
        self.exchange.sign_again = signed.sign_again

    # What is asked and how far it is.

    @property
    def start(self):
        """First byte of the range, once known; None for a suffix not located yet."""
        return None if self.exchange.start < 0 else self.exchange.start

    @property
    def stop(self):
        """One past the last byte of the range, cut at the object's end once known; None if open."""
        return None if self.exchange.stop == OPEN_END else self.exchange.stop

    @property
    def received(self):
        """Bytes in place, counted from ``start``."""
        return load(&self.exchange.received)

    @property
    def head_known(self):
        """Whether a response of the right range and version began: size, ETag, range are known."""
        return bool(load(&self.exchange.head_known))

    @property
    def done(self):
        """Whether every byte is in its place."""
        return is_settled(&self.exchange) and self.exchange.phase == PHASE_DONE

    @property
    def failed(self):
        """Whether it ended in :attr:`error`."""
        return is_settled(&self.exchange) and self.exchange.phase == PHASE_FAILED

    @property
    def settled(self):
        """Whether it is done, failed or cancelled."""
        return is_settled(&self.exchange)

    # What came back. Valid while the policy decides and once settled.

    @property
    def etag(self):
        """The version the bytes are of; "" while unknown."""
        return self.exchange.etag.decode("latin-1")

    @property
    def total(self):
        """The object's size in bytes; None while unknown."""
        return None if self.exchange.total < 0 else self.exchange.total

    @property
    def fault(self):
        """What was unusual about the latest attempt, one of the Fault codes; 0 for nothing."""
        return <int> self.exchange.fault

    @property
    def result(self):
        """libcurl's result code of the latest attempt."""
        return self.exchange.result

    @property
    def message(self):
        """libcurl's words about the latest attempt."""
        return self.exchange.message.decode("utf-8", "replace")

    @property
    def proxy_status(self):
        """Status of the proxy's answer to CONNECT on the latest attempt; None when none came."""
        return self.exchange.proxy_status or None

    @property
    def status(self):
        """HTTP status of the latest attempt; None when none came."""
        return self.exchange.head.status or None

    @property
    def head_total(self):
        """The object's size as the latest head's Content-Range told it; None if it did not."""
        return None if self.exchange.head.total < 0 else self.exchange.head.total

    @property
    def head_etag(self):
        """The ETag of the latest head; "" if there was none."""
        return self.exchange.head.etag.decode("latin-1")

    @property
    def head(self):
        """The header lines of the latest response, as bytes."""
        return PyBytes_FromStringAndSize(self.exchange.head.text, self.exchange.head.length)

    @property
    def tells_checksum(self):
        """Whether the latest head has a checksum in it."""
        return bool(self.exchange.head.checksummed)

    @property
    def text(self):
        """The body of an error or a document, as bytes."""
        return PyBytes_FromStringAndSize(self.exchange.text, self.exchange.text_length)

    @property
    def progress(self):
        """Monotonic time of the latest new byte, or of the first start."""
        return self.exchange.progress

    def view(self, Py_ssize_t start, Py_ssize_t stop):
        """Bytes ``[start, stop)`` of what was received, without copying; read-only.

        Only for transfers without a destination. The view keeps the memory alive.
        """
        if self.chunk is None:
            if self.exchange.block == NULL:
                return memoryview(b"")
            self.chunk = Chunk.wrap(self.pool, self.exchange.block, wanted(&self.exchange))
        if not 0 <= start <= stop <= self.received:
            raise ValueError(f"bytes {start}-{stop} are not received")
        return memoryview(self.chunk)[start:stop]

    def settle_empty(self, int64_t total):
        """Say, while the policy decides, that the object has ``total`` bytes, the range none."""
        if self.exchange.phase != PHASE_REPORTED:
            raise RuntimeError("only a reported transfer can be settled")
        if self.exchange.start < 0:
            self.exchange.start = total
        self.exchange.stop = self.exchange.start
        self.exchange.total = total
        store(&self.exchange.head_known, 1)


# Fault codes for Python, by name.
faults = {
    "status": <int> FAULT_STATUS,
    "transport": <int> FAULT_TRANSPORT,
    "short_body": <int> FAULT_SHORT_BODY,
    "long_body": <int> FAULT_LONG_BODY,
    "bad_range": <int> FAULT_BAD_RANGE,
    "changed": <int> FAULT_CHANGED,
    "bad_response": <int> FAULT_BAD_RESPONSE,
    "too_large": <int> FAULT_TOO_LARGE,
    "no_memory": <int> FAULT_NO_MEMORY,
    "first_byte_timeout": <int> FAULT_FIRST_BYTE_TIMEOUT,
    "stall_timeout": <int> FAULT_STALL_TIMEOUT,
    "stale_signature": <int> FAULT_STALE_SIGNATURE,
}
