"""A proxy that would like to know more than where to connect, or to answer in S3's place."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asking import DATA, ask_all
from servers.certificates import Certificates
from servers.scripted import Reply, ScriptedServer, object_script

from s3reader import S3Client, S3ConnectionError, S3Exception

ClientFor = Callable[..., S3Client]
Scripted = Callable[..., ScriptedServer]


class FakeProxy:
    """Answers every connection's first request with given bytes, then nothing; keeps what came."""

    def __init__(self, answer: bytes, *, drip: bool = False) -> None:
        self.received = b""
        self._answer = answer
        self._drip = drip
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                self.received += connection.recv(65536)
                connection.sendall(self._answer)
                while self._drip and not self._over.wait(0.05):
                    connection.sendall(b"X-A: b\r\n")
                connection.settimeout(0.5)
                self.received += connection.recv(65536)
            except OSError:
                pass  # the client has gone, which is what it should

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()


@pytest.fixture
def fake_proxy() -> Iterator[Callable[..., FakeProxy]]:
    started: list[FakeProxy] = []

    def start(answer: bytes, **settings: Any) -> FakeProxy:
        started.append(FakeProxy(answer, **settings))
        return started[-1]

    yield start
    for each in started:
        each.close()


OBJECT = (
    b'HTTP/1.1 206 OK\r\nETag: "v"\r\nContent-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\nhello'
)

TUNNELS = {
    "object in the tunnel's place": OBJECT,
    "object behind a tunnel without TLS": b"HTTP/1.1 200 OK\r\n\r\n" + OBJECT,
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    "region": b"HTTP/1.1 301 M\r\nx-amz-bucket-region: eu-west-1\r\nContent-Length: 0\r\n\r\n",
    "clock": b"HTTP/1.1 403 F\r\nDate: Fri, 01 Jan 2055 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n",
    "password wanted": b"HTTP/1.1 407 P\r\nProxy-Authenticate: Basic realm=x\r\n"
    b"Content-Length: 0\r\n\r\n",
    "garbage": b"\0\1\2\r\n\r\n",
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 2_000_000 + b"\r\n\r\n",
    "body without end": b"HTTP/1.1 500 E\r\nContent-Length: 9999999999\r\n\r\n" + b"a" * 500_000,
}


@pytest.mark.parametrize("answer", TUNNELS.values(), ids=TUNNELS.keys())
def test_proxy_learns_nothing_and_answers_nothing_in_s3s_place(
    fake_proxy: Callable[..., FakeProxy],
    certificates: Certificates,
    client_for: ClientFor,
    hides_secrets: Callable[..., None],
    answer: bytes,
) -> None:
    proxy = fake_proxy(answer)
    client = client_for(
        "https://s3.example.com",
        proxy=proxy.url,
        ca_bundle=certificates.authority,
        max_attempts=1,
        connect_timeout=1.0,
    )
    began = time.monotonic()
    with pytest.raises(S3Exception) as caught:
        client.get_object("bucket", "key").read()
    assert time.monotonic() - began < 5
    assert isinstance(caught.value, (S3ConnectionError, TimeoutError))
    hides_secrets(str(caught.value), vars(caught.value))
    # The name of the host is all it was told: no path, no signature, no token.
    asked = proxy.received.partition(b"\r\n\r\n")[0].lower()
    assert asked.startswith(b"connect bucket.s3.example.com:443 http/1.1")
    for word in (b"authorization", b"x-amz", b"/bucket/key", b"/key"):
        assert word not in asked


def test_tunnel_that_drips_ends_with_the_timeout_of_connecting(
    fake_proxy: Callable[..., FakeProxy], certificates: Certificates, client_for: ClientFor
) -> None:
    proxy = fake_proxy(b"HTTP/1.1 200 OK\r\n", drip=True)
    client = client_for(
        "https://s3.example.com",
        proxy=proxy.url,
        ca_bundle=certificates.authority,
        max_attempts=1,
        connect_timeout=0.5,
    )
    began = time.monotonic()
    with pytest.raises(S3Exception):
        client.get_object("bucket", "key").read()
    assert time.monotonic() - began < 3


def test_proxys_password_is_for_the_proxy_alone(
    scripted: Scripted, certificates: Certificates, client_for: ClientFor
) -> None:
    from servers.proxy import Proxy

    secure = scripted(
        lambda request: (
            Reply(body=b"<ListBucketResult/>")
            if "list-type" in request.target
            else object_script(DATA)(request)
        ),
        (certificates.chain, certificates.key),
    )
    with Proxy({"": secure.port}, user="user:hunter2hunter2") as proxy:
        url = proxy.url.replace("://", "://user:hunter2hunter2@")
        ask_all(
            client_for(
                f"https://localhost:{secure.port}", proxy=url, ca_bundle=certificates.authority
            )
        )
        assert proxy.asked
    for request in secure.requests:
        assert b"proxy-" not in request.raw.lower()
        assert b"hunter2" not in request.raw


@pytest.mark.parametrize("password", ["a\r\nX-Injected: yes", "a\nb", "a%0d%0aX-Injected:%20yes"])
def test_proxys_password_adds_no_header(
    fake_proxy: Callable[..., FakeProxy], client_for: ClientFor, password: str
) -> None:
    proxy = fake_proxy(b"HTTP/1.1 407 P\r\nContent-Length: 0\r\n\r\n")
    url = proxy.url.replace("://", f"://user:{password}@")
    with pytest.raises((S3Exception, ValueError)):
        client_for("http://s3.example.com", proxy=url, max_attempts=1).head_object("bucket", "key")
    assert b"\nx-injected" not in proxy.received.lower()
