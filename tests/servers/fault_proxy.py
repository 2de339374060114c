"""A TCP proxy that passes bytes on and, at chosen offsets, breaks what it carries.

It knows nothing of HTTP, so any server can stand behind it: moto, nginx, TLS. A plan is a list of
`Fault`s. Offsets count the bytes that went in one direction since the plan was made, over all
connections together; the connection that carries the byte at the offset is the one that suffers.
One thread a connection; `close` cuts all of it and joins.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from dataclasses import dataclass
from typing import Literal

from .scripted import JOIN_TIMEOUT, RESET_ON_CLOSE

BLOCK = 64 * 1024  # bytes moved at once
DRIP = 40  # bytes that a drip hands out one by one

Toward = Literal["client", "server", "connect"]


@dataclass(frozen=True)
class Fault:
    """What happens before the byte at offset `after` is passed on.

    reset: RST to the client. close: FIN to the client. stall: nothing goes on on that connection.
    delay: a pause of `seconds`, then all goes on. drip: the next bytes come one by one, `seconds`
    in all.

    `toward` is the direction whose bytes are counted; "connect" counts connections instead, each
    counted as it is accepted.
    """

    action: Literal["reset", "close", "stall", "delay", "drip"]
    after: int
    toward: Toward = "client"
    seconds: float = 0.03


class FaultProxy:
    """Listens on a free loopback port from its creation on. A context manager.

    Args:
        upstream: port of the server behind it, on loopback.
        port: where it listens itself; 0 for any that is free.
    """

    def __init__(self, upstream: int, port: int = 0) -> None:
        self._upstream = upstream
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._passed: dict[Toward, int] = {}
        self._fired = 0
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._stopping = threading.Event()
        self.plan()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def plan(self, *faults: Fault) -> None:
        """Forget what was planned and count from here; without faults all goes well."""
        with self._lock:
            self._faults = sorted(faults, key=lambda fault: fault.after)
            self._passed = {"client": 0, "server": 0, "connect": 0}

    @property
    def fired(self) -> int:
        """How many faults happened so far."""
        with self._lock:
            return self._fired

    def passed(self, toward: Toward) -> int:
        """Bytes, or connections, in that direction since the plan was made."""
        with self._lock:
            return self._passed[toward]

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, cut what is open, and wait for the threads."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(JOIN_TIMEOUT)
        with self._lock:
            connections = dict(self._connections)
        for connection in connections.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in connections:
            thread.join(JOIN_TIMEOUT)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            with self._lock:
                self._connections[thread] = connection
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket()
        try:
            with client, server, contextlib.suppress(OSError):
                _, fault = self._take("connect", 1)
                if fault is not None and not self._befall(fault, client):
                    return
                server.connect(("127.0.0.1", self._upstream))
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._pass_on(client, server)
        finally:
            with self._lock:
                del self._connections[threading.current_thread()]

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        while True:
            ready, _, _ = select.select([client, server], [], [])
            for source in ready:
                data = source.recv(BLOCK)
                if not data:
                    return
                if source is client:
                    alive = self._carry(data, server, "server", client)
                else:
                    alive = self._carry(data, client, "client", client)
                if not alive:
                    return

    def _carry(
        self, data: bytes, target: socket.socket, toward: Toward, client: socket.socket
    ) -> bool:
        """Pass ``data`` on, with what is planned on the way; False where that ended it."""
        while data:
            count, fault = self._take(toward, len(data))
            target.sendall(data[:count])
            data = data[count:]
            if fault is None:
                continue
            if fault.action == "drip":
                for at in range(min(DRIP, len(data))):
                    self._stopping.wait(fault.seconds / DRIP)
                    target.sendall(data[at : at + 1])
                data = data[DRIP:]
            elif not self._befall(fault, client):
                return False
        return True

    def _take(self, toward: Toward, length: int) -> tuple[int, Fault | None]:
        """How much of ``length`` may pass, and what happens then."""
        with self._lock:
            for fault in self._faults:
                if fault.toward == toward and fault.after < self._passed[toward] + length:
                    self._faults.remove(fault)
                    self._fired += 1
                    count = max(0, fault.after - self._passed[toward])
                    self._passed[toward] += count if toward != "connect" else length
                    return count, fault
            self._passed[toward] += length
            return length, None

    def _befall(self, fault: Fault, client: socket.socket) -> bool:
        """Carry out a fault; False where the connection ends with it."""
        if fault.action in ("delay", "drip"):
            self._stopping.wait(fault.seconds)
            return True
        if fault.action == "stall":
            while client.recv(BLOCK):  # nobody answers; the client goes, or `close` cuts it
                pass
        elif fault.action == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        return False
