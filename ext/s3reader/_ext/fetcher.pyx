"""The fetcher: hands transfers to the I/O loop and waits for what becomes of them.

Actors: any number of Python threads submit, wait and cancel; one thread at a time carries out, the
I/O thread or one of those that wait (see ``driver``); one supervising Python thread takes the
reports and decides (see ``s3reader.session``). The I/O thread starts with the first submit and
ends with :meth:`Fetcher.close`.

Waiting releases the GIL and looks for signals ten times a second, so Ctrl-C ends any wait. After
a fork the child finds the fetcher abandoned: its thread, its lock and its connections are the
parent's, and nothing here touches them again.
"""

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from s3reader._ext cimport process
from s3reader._ext.driver cimport (
    call_driver, has_come, has_settled, is_abandoned, is_over, run_thread, wait_until)
from s3reader._ext.exchange cimport (
    OPEN_END, PHASE_CANCELLED, PHASE_DONE, PHASE_FAILED, PHASE_NEW, PHASE_REPORTED, Exchange,
    LaneState, Phase, Slot, is_settled)
from s3reader._ext.libcurl cimport curl
from s3reader._ext.loop cimport open_loop
from s3reader._ext.pace cimport pace_bound, pace_throttled
from s3reader._ext.queues cimport close_lane, delay_until, enqueue, pop_report, settle
from s3reader._ext.relief cimport offer_spare, recall_spares
from s3reader._ext.threads cimport (
    cond_init, cond_wait, load, monotonic, pthread_cond_broadcast, pthread_cond_destroy,
    pthread_join, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock,
    pthread_mutex_unlock, store, thread_start)
from s3reader._ext.transfer cimport Lane
from s3reader._ext.width cimport width_bound, width_for

cdef double SIGNAL_INTERVAL = 0.1   # seconds between looks for Ctrl-C while waiting


class FetcherClosed(ValueError):
    """The fetcher was closed, or belongs to the process this one was forked from."""


# The collector would clear the counters while the I/O thread counts; nothing here closes a cycle.
@cython.no_gc
cdef class Fetcher:
    """Carries out transfers over a set of connections of its own.

    Parameters
    ----------
    max_connections
        Transfers at once at most.
    user_agent
        Sent with every request.
    ca_bundle, proxy
        Path of a PEM file of trusted certificates, None for libcurl's own; URL, None for none.
    connect_timeout, first_byte_timeout, stall_timeout
        Seconds; None for none.
    hedge
        Send a request a second time when its answer is late.
    counters
        Of connections and bytes of all lanes.
    """

    def __cinit__(self, Counters counters not None, int max_connections, str user_agent not None, *,
                  str ca_bundle=None, str proxy=None, connect_timeout=None,
                  first_byte_timeout=None, stall_timeout=None, bint hedge=False):
        memset(&self.loop, 0, sizeof(self.loop))
        if max_connections < 1:
            raise ValueError("max_connections must be at least 1")
        pthread_mutex_init(&self.loop.lock, NULL)
        cond_init(&self.loop.queues.reported)
        cond_init(&self.loop.handed)
        self.generation = process.generation
        self.counters = counters
        self._user_agent = user_agent.encode("ascii", "replace")
        self._ca_bundle = None if ca_bundle is None else ca_bundle.encode()
        self._proxy = (proxy or "").encode()
        self.loop.easy_options.user_agent = self._user_agent
        self.loop.easy_options.proxy = self._proxy
        if self._ca_bundle is not None:
            self.loop.easy_options.ca_bundle = self._ca_bundle
        # libcurl takes 0 for its default of 300 s; "none" is the longest it can hold.
        self.loop.easy_options.connect_timeout = (
            0x7fffffff if connect_timeout is None else max(1, int(connect_timeout * 1000)))
        self.loop.first_byte_timeout = first_byte_timeout or 0
        self.loop.stall_timeout = stall_timeout or 0
        self.loop.hedge.enabled = hedge
        self.loop.tally = &counters.tally
        self.loop.slot_count = self.loop.pace.limit = self.loop.pace.ceiling = max_connections
        width_bound(&self.loop.width, max_connections)
        self.loop.slots = <Slot *> calloc(max_connections, sizeof(Slot))
        if self.loop.slots == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.generation != process.generation:
            return                  # the parent's: its handles must not be cleaned up here
        if self.started and not self.joined:
            self.close()
        free(self.loop.slots)
        pthread_cond_destroy(&self.loop.queues.reported)
        pthread_cond_destroy(&self.loop.handed)
        pthread_mutex_destroy(&self.loop.lock)

    cdef int _usable(self) except -1:
        if self.generation != process.generation:
            raise FetcherClosed("this fetcher belongs to the process that this one was forked from")
        if self.loop.stopping:
            process.end_daemon()
            raise FetcherClosed("the client was closed")
        return 0

    cdef int _start(self) except -1:
        if not open_loop(&self.loop):
            raise MemoryError
        if thread_start(&self.thread, run_thread, &self.loop) != 0:
            curl.multi_cleanup(self.loop.multi)
            raise OSError("cannot start the I/O thread: the system refuses another thread")
        self.started = True
        return 0

    @property
    def abandoned(self):
        """Whether this is the copy that a fork left behind."""
        return self.generation != process.generation

    @property
    def limit(self):
        """How many transfers may run at once right now."""
        return self.loop.pace.limit

    @property
    def max_connections(self):
        """How many transfers may run at once when nothing is throttled."""
        return self.loop.slot_count

    def width(self, int64_t length):
        """How many transfers of so many bytes run at once: see `width`."""
        return width_for(&self.loop.width, length)

    @property
    def busy(self):
        """Seconds in which the loop was at work so far, not waiting."""
        return self.loop.busy

    def share(self, int connections):
        """Run at most so many transfers at once from now on, with other fetchers at work."""
        pthread_mutex_lock(&self.loop.lock)
        pace_bound(&self.loop.pace, min(connections, self.loop.slot_count))
        width_bound(&self.loop.width, min(connections, self.loop.slot_count))
        pthread_mutex_unlock(&self.loop.lock)

    cdef int _enqueue(self, Transfer transfer, double delay) except -1:
        cdef Exchange *exchange = &transfer.exchange
        if exchange.phase not in (PHASE_NEW, PHASE_REPORTED):
            raise RuntimeError("a transfer is submitted once, and again only when it was reported")
        if exchange.url == NULL:
            raise RuntimeError("a transfer must be signed before it is submitted")
        transfer.fetcher = self
        if transfer.lane.members is not None:
            transfer.lane.members.add(transfer)     # may raise: not under the lock
        pthread_mutex_lock(&self.loop.lock)
        if exchange.phase == PHASE_NEW:
            exchange.lane.outstanding += 1
        else:
            exchange.lane.judging -= 1
        if exchange.lane.closed or self.loop.stopping:
            settle(exchange, PHASE_CANCELLED)
        elif delay > 0:
            delay_until(&self.loop.queues, exchange, monotonic() + delay)
        else:
            enqueue(&self.loop.queues, exchange, exchange.phase == PHASE_REPORTED)
        pthread_mutex_unlock(&self.loop.lock)
        return 0

    cdef void _wake(self) noexcept:
        pthread_mutex_lock(&self.loop.lock)
        call_driver(&self.loop)
        pthread_mutex_unlock(&self.loop.lock)

    def submit(self, transfers, *, bint attended=False):
        """Start signed transfers, in order, as connections come free.

        Parameters
        ----------
        attended
            The calling thread waits next, for these transfers or others: it will run the loop
            itself if nobody does by then, so nobody is woken for it now.
        """
        cdef Transfer transfer
        self._usable()
        if not self.started:
            self._start()
        for transfer in transfers:
            self._enqueue(transfer, 0)
        if attended:
            pthread_mutex_lock(&self.loop.lock)
            self.loop.unattended = True     # every wait sees to it, and so does a cancel
            pthread_mutex_unlock(&self.loop.lock)
        else:
            self._wake()

    def offer(self, transfers):
        """Have signed transfers of no range at hand, to relieve those of their lane that run long.

        They are settled only where they came to a use. `cancel` or `recall` takes the others back.
        """
        cdef Transfer transfer
        self._usable()
        for transfer in transfers:
            if transfer.exchange.phase != PHASE_NEW or transfer.exchange.url == NULL:
                raise RuntimeError("a spare is signed, and offered once")
            pthread_mutex_lock(&self.loop.lock)
            transfer.fetcher = self
            offer_spare(transfer.exchange.lane, &transfer.exchange)
            pthread_mutex_unlock(&self.loop.lock)

    def recall(self, Lane lane not None):
        """Take back the spares that did not come to a use."""
        pthread_mutex_lock(&self.loop.lock)
        recall_spares(&lane.state)
        pthread_mutex_unlock(&self.loop.lock)

    def resubmit(self, Transfer transfer not None, double delay=0):
        """Put a reported transfer back, ``delay`` seconds from now; it resumes where it broke."""
        self._usable()
        self._enqueue(transfer, delay)
        self._wake()

    def _settle(self, Transfer transfer, int phase):
        cdef Exchange *exchange = &transfer.exchange
        if exchange.phase != PHASE_REPORTED:
            raise RuntimeError("only a reported transfer can be settled")
        pthread_mutex_lock(&self.loop.lock)
        exchange.lane.judging -= 1
        settle(exchange, PHASE_CANCELLED if exchange.lane.closed else <Phase> phase)
        pthread_mutex_unlock(&self.loop.lock)

    def fail(self, Transfer transfer not None, error):
        """End a reported transfer with an exception."""
        transfer.error = error
        self._settle(transfer, PHASE_FAILED)

    def finish(self, Transfer transfer not None):
        """End a reported transfer as done: it turned out to have no bytes."""
        self._settle(transfer, PHASE_DONE)

    def throttle(self):
        """Take note that the server asked for fewer requests: halve how many run at once."""
        pthread_mutex_lock(&self.loop.lock)
        pace_throttled(&self.loop.pace, monotonic())
        pthread_mutex_unlock(&self.loop.lock)

    def next_report(self):
        """Wait for a transfer that Python must decide about; None once the fetcher is closed."""
        cdef Exchange *exchange
        while True:
            if self.generation != process.generation:
                return None
            # Taken with the GIL held: a transfer that is being dropped cancels its lane with the
            # GIL held too, so what is found here is alive.
            pthread_mutex_lock(&self.loop.lock)
            exchange = pop_report(&self.loop.queues)
            transfer = <Transfer> exchange.owner if exchange != NULL else None
            stopped = self.loop.stopping
            pthread_mutex_unlock(&self.loop.lock)
            if transfer is not None or stopped:
                return transfer
            with nogil:
                pthread_mutex_lock(&self.loop.lock)
                if self.loop.queues.reports_first == NULL and not self.loop.stopping:
                    cond_wait(&self.loop.queues.reported, &self.loop.lock, 60.0)
                pthread_mutex_unlock(&self.loop.lock)

    # Waiting. Each returns at once where there is nothing to wait for.

    cdef int _wait(self, pthread_cond_t *changed, Condition there, void *context) except -1:
        """Wait a while until ``there(context)``; whether it holds."""
        cdef bint result
        with nogil:
            pthread_mutex_lock(&self.loop.lock)
            result = wait_until(&self.loop, changed, there, context, SIGNAL_INTERVAL)
            pthread_mutex_unlock(&self.loop.lock)
        if not result:
            PyErr_CheckSignals()
            self._usable()
        return result

    cdef int _await(
            self, Transfer transfer, int64_t *value, int64_t least, int64_t awaited) except -1:
        """Wait until ``value`` is at least ``least`` or the transfer is settled."""
        cdef Exchange *exchange = &transfer.exchange
        self._usable()
        try:
            while not is_settled(exchange) and load(value) < least:
                store(&exchange.awaited, awaited)
                # What came between the look above and the store woke nobody.
                if load(value) >= least:
                    break
                while self._wait(&exchange.lane.changed, has_come, exchange) == 0:
                    pass
        finally:
            store(&exchange.awaited, -1)
        if self.loop.unattended:
            self._wake()
        if exchange.phase == PHASE_CANCELLED:
            self._say_cancelled()
        return 0

    cdef int _say_cancelled(self) except -1:
        self._usable()
        raise FetcherClosed("I/O operation on closed file: it was closed while being read")

    def wait_received(self, Transfer transfer not None, int64_t count):
        """Wait until ``count`` bytes of a transfer are in place, or it is settled."""
        self._await(transfer, &transfer.exchange.received, count, count)

    def wait_head(self, Transfer transfer not None):
        """Wait until the first response tells size and version, or the transfer is settled."""
        self._await(transfer, &transfer.exchange.head_known, 1, 0)

    def wait_done(self, Transfer transfer not None):
        """Wait until a transfer is settled. Having every byte, it still is on its handle."""
        self._await(transfer, &transfer.exchange.received, OPEN_END, OPEN_END)

    def wait_settled(self, Lane lane not None):
        """Wait until no transfer of a lane is on its way any more, or one of them failed."""
        self._usable()
        while self._wait(&lane.state.changed, is_over, &lane.state) == 0:
            pass
        if lane.state.failures > 0 and (lane.state.closed or self.loop.stopping):
            self._say_cancelled()

    def wait_some(self, Lane lane not None, int64_t enough=1):
        """Wait until transfers of a lane that collects are settled; take them, in that order.

        Waits for ``enough`` of them where they come soon, or all that are on their way: a wait may
        cost more than a transfer. Gives none where none is on its way.
        """
        cdef Exchange *exchange
        cdef list taken = []
        self._usable()
        lane.state.enough = enough
        while self._wait(&lane.state.changed, has_settled, &lane.state) == 0:
            lane.state.enough = 1   # they do not come soon
        if lane.state.closed or self.loop.stopping:
            self._say_cancelled()
        pthread_mutex_lock(&self.loop.lock)
        exchange = lane.state.settled_first
        lane.state.settled_first = lane.state.settled_last = NULL
        lane.state.settled = 0
        pthread_mutex_unlock(&self.loop.lock)
        while exchange != NULL:
            transfer = <Transfer> exchange.owner
            exchange = exchange.next
            taken.append(transfer)
            lane.members.discard(transfer)
        return taken

    def cancel(self, Lane lane not None):
        """Stop all of a lane's transfers, for good. On return no destination is written to."""
        cdef LaneState *state = &lane.state
        _members, lane.members = lane.members, None   # kept until nothing refers to them
        if self.generation != process.generation or not self.started:
            return
        # With the GIL held: see `next_report`, which must not find a transfer being dropped.
        pthread_mutex_lock(&self.loop.lock)
        if not state.closed:
            close_lane(&self.loop.queues, state)
        runs = not is_abandoned(state)
        if self.loop.unattended:
            call_driver(&self.loop)
        pthread_mutex_unlock(&self.loop.lock)
        if not runs:
            return
        with nogil:
            pthread_mutex_lock(&self.loop.lock)
            self.loop.unattended = True
            while not self.loop.stopped and not wait_until(
                    &self.loop, &state.changed, is_abandoned, state, SIGNAL_INTERVAL):
                pass
            pthread_mutex_unlock(&self.loop.lock)

    def close(self):
        """Stop every transfer and end the I/O thread."""
        if self.generation != process.generation:
            return
        with nogil:
            pthread_mutex_lock(&self.loop.lock)
            self.loop.stopping = True
            pthread_cond_broadcast(&self.loop.queues.reported)
            call_driver(&self.loop)
            pthread_mutex_unlock(&self.loop.lock)
        if self.started and not self.joined:    # the GIL is held: it is not started after this
            self.joined = True
            with nogil:
                pthread_join(self.thread, NULL)
        if not self.started:
            self.loop.stopped = True
