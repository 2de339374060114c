"""A raw-socket HTTP server that answers what a test scripts, byte by byte, faults included.

A script is a list of `Reply` objects, taken in order of the requests' arrival (the last one
answers everything after it), or a callable from `Request` to `Reply`, called on the connection's
thread. Every request is recorded with its raw head. One thread a connection; connections stay
open for further requests unless the reply ends them. `close` ends all of it and joins.

Only the head of a request is read: the library under test sends no bodies.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s: close sends RST and drops the rest
MAX_HEAD = 64 * 1024  # bytes
JOIN_TIMEOUT = 5.0  # seconds


@dataclass(frozen=True)
class Request:
    """One request as it came: `target` is the path and query as sent; header names are lower
    case; `index` counts the server's requests from 0, `connection` its connections."""

    index: int
    connection: int
    method: str
    target: str
    headers: dict[str, str]
    raw: bytes

    @property
    def range(self) -> tuple[int, int | None] | None:
        """A ``bytes=a-b`` Range as half-open offsets; None without one or for a suffix range."""
        first, dash, last = self.headers.get("range", "").removeprefix("bytes=").partition("-")
        if not dash or not first:
            return None
        return int(first), int(last) + 1 if last else None


@dataclass(frozen=True)
class Reply:
    """What to send back, and what to do wrong.

    body: sent with a right ``Content-Length``, unless `headers` has one of its own or `chunked`.
    cut_after: stop after that many bytes of output, head included; then close, or `reset`.
    cut_body_after: the same, counted in body bytes.
    delay: seconds before the first byte. delay_at/pause: pause that long after `delay_at` bytes of
        body. A pause is cut short when the server closes.
    silent: read the request and never answer; the connection stays open until the server closes.
    reset: end with RST in place of FIN. close: end the connection after this reply.
    raw: bytes to send in place of a head and body of our making.
    interim: bytes sent before the head, such as a ``100 Continue``.
    feed: more of the body after `body`, each piece sent when it is made; `headers` has the length.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    chunked: bool = False
    cut_after: int | None = None
    cut_body_after: int | None = None
    delay: float = 0.0
    delay_at: int | None = None
    pause: float = 0.0
    silent: bool = False
    reset: bool = False
    close: bool = False
    raw: bytes | None = None
    interim: bytes = b""
    feed: Iterable[bytes] = ()

    def head(self) -> bytes:
        try:
            reason = HTTPStatus(self.status).phrase
        except ValueError:
            reason = "Unknown"
        lines = [f"HTTP/1.1 {self.status} {reason}"]
        names = {name.lower() for name in self.headers}
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
        elif "content-length" not in names:
            lines.append(f"Content-Length: {len(self.body)}")
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.close:
            lines.append("Connection: close")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


Script = Sequence[Reply] | Callable[[Request], Reply]


class ScriptedServer:
    """Listens on a free loopback port from its creation on. A context manager.

    certificate: paths of a certificate chain and its key, in PEM, to speak TLS.
    host: the address to listen on; "0.0.0.0" for all of this machine's.
    """

    def __init__(
        self,
        script: Script,
        certificate: tuple[str, str] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self._script = script
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._connections = 0
        self._stopping = threading.Event()
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*certificate)
        self._listener = socket.create_server((host, 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def endpoint(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[Request]:
        with self._lock:
            return list(self._requests)

    @property
    def connections(self) -> int:
        """How many were accepted so far."""
        with self._lock:
            return self._connections

    def answer_by(self, script: Script) -> None:
        """Take another script from now on, and forget the requests so far."""
        with self._lock:
            self._script = script
            self._requests.clear()

    def __enter__(self) -> ScriptedServer:
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
            for connection in self._sockets:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            threads = list(self._threads)
        for thread in threads:
            thread.join(JOIN_TIMEOUT)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                number = self._connections
                self._connections += 1
                self._sockets.add(connection)
                thread = threading.Thread(
                    target=self._serve, args=(connection, number), daemon=True
                )
                self._threads = [*(each for each in self._threads if each.is_alive()), thread]
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        stream = connection
        try:
            if self._tls is not None:
                stream = self._tls.wrap_socket(connection, server_side=True)
                with self._lock:
                    self._sockets.discard(connection)
                    self._sockets.add(stream)
            buffered = b""
            while not self._stopping.is_set():
                while b"\r\n\r\n" not in buffered:
                    received = stream.recv(MAX_HEAD)
                    if not received or len(buffered) > MAX_HEAD:
                        return
                    buffered += received
                head, _, buffered = buffered.partition(b"\r\n\r\n")
                if not self._answer(stream, self._note(head, number)):
                    return
        except OSError:
            return  # the client has gone, or `close` cut the connection: both are expected
        finally:
            with self._lock:
                self._sockets.discard(stream)
                self._sockets.discard(connection)
            stream.close()

    def _note(self, head: bytes, connection: int) -> Request:
        first, *fields = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        pairs = (line.partition(":") for line in fields)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        with self._lock:
            request = Request(len(self._requests), connection, method, target, headers, head)
            self._requests.append(request)
        return request

    def _answer(self, stream: socket.socket, request: Request) -> bool:
        """Send the reply for `request`; False if the connection ends with it."""
        if callable(self._script):
            reply = self._script(request)
        else:
            reply = self._script[min(request.index, len(self._script) - 1)]
        if reply.silent:
            self._stopping.wait()
            return False
        self._stopping.wait(reply.delay) if reply.delay else None
        output, whole = self._output(reply, request.method == "HEAD")
        if reply.delay_at is not None:
            at = len(output) - (len(reply.body) - reply.delay_at)
            stream.sendall(output[: max(at, 0)])
            self._stopping.wait(reply.pause)
            output = output[max(at, 0) :]
        stream.sendall(output)
        for piece in reply.feed:
            stream.sendall(piece)
        if reply.reset:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        return whole and not (reply.reset or reply.close)

    @staticmethod
    def _output(reply: Reply, bodiless: bool) -> tuple[bytes, bool]:
        """The bytes to send, and whether they are the whole reply."""
        if reply.raw is not None:
            output = reply.raw
            limit = reply.cut_after
        else:
            head = reply.interim + reply.head()
            body = b"" if bodiless else reply.body
            limit = reply.cut_after
            if reply.cut_body_after is not None:
                limit = len(head) + reply.cut_body_after
            if reply.chunked and not bodiless:
                body = b"".join(
                    f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
                    for piece in (body[at : at + 8192] for at in range(0, len(body), 8192))
                )
                body += b"0\r\n\r\n"
            output = head + body
        if limit is None or limit >= len(output):
            return output, True
        return output[:limit], False


def object_script(
    data: bytes, etag: str = '"0123456789abcdef"', headers: dict[str, str] | None = None
) -> Callable[[Request], Reply]:
    """A script that serves `data` as S3 would, whatever the path: ranges, suffix ranges, HEAD,
    If-Match, 416. Wrap it to spoil single replies."""
    common = {"ETag": etag, "Accept-Ranges": "bytes", "x-amz-request-id": "SCRIPTED"}
    common.update(headers or {})

    def answer(request: Request) -> Reply:
        if request.headers.get("if-match", etag) != etag:
            return Reply(412, body=_error("PreconditionFailed"))
        wanted = request.headers.get("range")
        if wanted is None:
            return Reply(200, common, data)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        if not first:
            start, end = max(len(data) - int(last), 0), len(data)
        else:
            start, end = int(first), min(int(last) + 1, len(data)) if last else len(data)
        if start >= len(data):
            detail = f"<ActualObjectSize>{len(data)}</ActualObjectSize>"
            return Reply(416, body=_error("InvalidRange", detail))
        described = {**common, "Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}
        return Reply(206, described, data[start:end])

    return answer


def _error(code: str, detail: str = "") -> bytes:
    return f"<Error><Code>{code}</Code><Message>scripted</Message>{detail}</Error>".encode()
