"""A forward proxy: tunnels ``CONNECT`` and passes on plain requests, and asks for a password.

It records what it was asked. Names need not exist: `hosts` says which local port stands for which
name, so that a test can be any host of AWS. One thread a connection and one a direction; `close`
cuts all of it and joins.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections.abc import Mapping

BLOCK = 64 * 1024  # bytes moved at once
JOIN_TIMEOUT = 5.0  # seconds


class Proxy:
    """Listens on a free loopback port from its creation on. A context manager.

    Args:
        hosts: local port by name, or by "" for every other name; a name that is not here is
            refused with 502.
        user: "name:password" to be given; "" for nobody in particular.
        refusal: the status with which every tunnel is refused, 0 for none.
    """

    def __init__(self, hosts: Mapping[str, int], user: str = "", refusal: int = 0) -> None:
        self._hosts = hosts
        self._expected = f"Basic {base64.b64encode(user.encode()).decode()}" if user else ""
        self._refusal = refusal
        self._lock = threading.Lock()
        self._asked: list[str] = []
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def asked(self) -> list[str]:
        """Method and target of each request that was made of the proxy itself."""
        with self._lock:
            return list(self._asked)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, cut what is open, and wait for the threads."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            sockets, threads = list(self._sockets), list(self._threads)
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(JOIN_TIMEOUT)
        for each in sockets:
            each.close()

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        with self._lock:
            self._threads.append(thread)
        thread.start()

    def _keep(self, connection: socket.socket) -> None:
        with self._lock:
            self._sockets.add(connection)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._keep(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        buffered = b""
        with contextlib.suppress(OSError):
            while True:
                while b"\r\n\r\n" not in buffered:
                    received = connection.recv(BLOCK)
                    if not received:
                        return
                    buffered += received
                head, _, buffered = buffered.partition(b"\r\n\r\n")
                if not self._answer(connection, head):
                    return

    def _answer(self, connection: socket.socket, head: bytes) -> bool:
        """Carry out one request; False if the connection is used up."""
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        with self._lock:
            self._asked.append(f"{method} {target}")
        fields = dict(line.split(": ", 1) for line in lines if ": " in line)
        if self._expected and fields.get("Proxy-Authorization") != self._expected:
            return self._refuse(connection, 407)
        if self._refusal:
            return self._refuse(connection, self._refusal)
        authority = target if method == "CONNECT" else target.split("/")[2]
        name = authority.rpartition(":")[0] or authority
        port = self._hosts.get(name, self._hosts.get("", 0))
        if not port:
            return self._refuse(connection, 502)
        upstream = socket.create_connection(("127.0.0.1", port))
        self._keep(upstream)
        if method == "CONNECT":
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._start(self._pump, upstream, connection)
            self._pump(connection, upstream)
            return False
        path = "/" + target.split("/", 3)[3]
        kept = [line for line in lines if not line.lower().startswith("proxy-")]
        request = "\r\n".join([f"{method} {path} HTTP/1.1", *kept, "Connection: close"])
        upstream.sendall(request.encode("latin-1") + b"\r\n\r\n")
        self._pass_on(upstream, connection, method != "HEAD")
        return False

    @staticmethod
    def _pass_on(upstream: socket.socket, connection: socket.socket, has_body: bool) -> None:
        """Pass one answer on and end both connections."""
        with upstream, upstream.makefile("rb") as answer:
            length = 0
            while (line := answer.readline()) not in (b"\r\n", b""):
                connection.sendall(line)
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length" and has_body:
                    length = int(value)
            connection.sendall(b"Connection: close\r\n\r\n")
            while block := answer.read(min(length, BLOCK)):
                connection.sendall(block)
                length -= len(block)
        connection.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _refuse(connection: socket.socket, status: int) -> bool:
        asks = "Proxy-Authenticate: Basic realm=proxy\r\n" if status == 407 else ""
        answer = f"HTTP/1.1 {status} Refused\r\n{asks}Content-Length: 7\r\n\r\nRefused"
        connection.sendall(answer.encode())
        return True

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while received := source.recv(BLOCK):
                target.sendall(received)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
