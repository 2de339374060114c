"""Connections that do not come about, or bring their bytes one by one.

Elsewhere: certificates that are expired, of another host or of nobody (tests/client/test_network),
names that cannot be resolved (tests/client/test_broken_answers), resets, stalls and refused
connections (tests/core/test_streams_broken), answers that are not HTTP, oversize heads and wrong
ranges (tests/core/test_streams_answers), pages in an object's place
(tests/core/test_streams_other_servers), redirects and refused tokens
(tests/core/test_streams_corrected).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Literal

import pytest
from servers.certificates import Certificates
from servers.fault_proxy import Fault, FaultProxy
from servers.faults import PART, pattern
from servers.nginx import Nginx
from servers.scripted import Reply, ScriptedServer, object_script

from s3reader import S3Client, S3ConnectionError, S3Exception, S3TimeoutError
from s3reader.constructor import S3ReaderConstructor

DATA = pattern(3 * PART + 100)
UNBUFFERED = S3ReaderConstructor.range_based(0)

NewClient = Callable[..., S3Client]
NewProxy = Callable[[int], FaultProxy]


class TestHandshake:
    """TLS, in front of nginx; the plain bytes of the handshake go through the fault proxy."""

    @pytest.fixture
    def secure(
        self,
        nginx_tls: Nginx,
        certificates: Certificates,
        new_proxy: NewProxy,
        new_client: NewClient,
    ) -> tuple[S3Client, FaultProxy]:
        nginx_tls.put("faults", "secure", DATA)
        proxy = new_proxy(nginx_tls.port)
        client = new_client(
            proxy.endpoint.replace("http", "https"),
            unsigned=True,
            credentials=None,
            ca_bundle=certificates.authority,
            first_byte_timeout=2.0,  # a handshake takes its time
        )
        return client, proxy

    @pytest.mark.parametrize("toward", ["client", "server"])
    @pytest.mark.parametrize("action", ["reset", "close"])
    def test_broken_anywhere_is_made_good(
        self,
        secure: tuple[S3Client, FaultProxy],
        action: Literal["reset", "close"],
        toward: Literal["client", "server"],
    ) -> None:
        client, proxy = secure
        for after in range(0, 2500, 173):
            proxy.plan(Fault(action, after, toward))
            reader = client.get_object("faults", "secure", reader_constructor=UNBUFFERED)
            with reader:
                assert reader.read() == DATA, f"{action} before byte {after}"

    def test_broken_for_good_is_a_typed_error_and_the_reader_goes_on_after_it(
        self, secure: tuple[S3Client, FaultProxy]
    ) -> None:
        client, proxy = secure
        reader = client.get_object("faults", "secure")
        reader.seek(5)
        for action in ("reset", "close"):
            proxy.plan(*(Fault(action, number, "connect") for number in range(20)))  # type: ignore[arg-type]
            with pytest.raises(S3ConnectionError) as caught:
                reader.read(10)
            assert caught.value.attempts == 3
            assert reader.tell() == 5
        proxy.plan()
        assert reader.read() == DATA[5:]

    def test_that_stops_is_a_timeout(
        self,
        certificates: Certificates,
        nginx_tls: Nginx,
        new_proxy: NewProxy,
        new_client: NewClient,
    ) -> None:
        nginx_tls.put("faults", "secure", DATA)
        proxy = new_proxy(nginx_tls.port)
        client = new_client(
            proxy.endpoint.replace("http", "https"),
            unsigned=True,
            credentials=None,
            ca_bundle=certificates.authority,
            connect_timeout=0.3,
        )
        proxy.plan(*(Fault("stall", 100, "client") for _ in range(20)))
        reader = client.get_object("faults", "secure")
        with pytest.raises(S3TimeoutError, match="connect_timeout"):
            reader.read()
        proxy.plan()
        assert reader.read() == DATA

    def test_with_nonsense_is_a_typed_error(
        self, scripted: Callable[..., ScriptedServer], new_client: NewClient
    ) -> None:
        server = scripted([Reply(raw=b"\x15\x03\x03\x00\x02\x02\x28" * 5, close=True)])
        client = new_client(
            server.endpoint.replace("http", "https"), unsigned=True, credentials=None
        )
        with pytest.raises(S3Exception, match="s3://bucket/key"):
            client.get_object("bucket", "key").read()


def test_port_that_opens_while_it_is_tried_is_found(
    monkeypatch: pytest.MonkeyPatch, nginx: Nginx, new_client: NewClient
) -> None:
    """A server that is restarted: refused at first, with the policy's own delays."""
    nginx.put("faults", "late", DATA)
    monkeypatch.setattr("s3reader.judge.random.random", lambda: 0.5)
    with FaultProxy(nginx.port) as proxy:
        port = proxy.port
    client = new_client(
        f"http://127.0.0.1:{port}",
        unsigned=True,
        credentials=None,
        max_attempts=10,
        retry_timeout=20.0,
    )
    reader = client.get_object("faults", "late")
    reader.prefetch()  # type: ignore[attr-defined]
    while not client.stats()["retries"].get("connection", 0) >= 2:
        time.sleep(0.01)
    with socket.create_server(("127.0.0.1", port)) as listener:
        held, _ = listener.accept()
        held.close()
    with FaultProxy(nginx.port, port=port):
        assert reader.read() == DATA
        reader.close()


def test_port_that_is_closed_is_a_typed_error_until_it_opens(
    nginx: Nginx, new_client: NewClient
) -> None:
    nginx.put("faults", "late", DATA)
    with FaultProxy(nginx.port) as proxy:
        client = new_client(proxy.endpoint, unsigned=True, credentials=None)
        reader = client.get_object("faults", "late", reader_constructor=UNBUFFERED)
        assert reader.read(PART + 10) == DATA[: PART + 10]
    with pytest.raises(S3ConnectionError):
        reader.read(PART + 10)
    assert reader.tell() == PART + 10
    with FaultProxy(nginx.port, port=proxy.port):
        assert reader.read() == DATA[PART + 10 :]
        reader.close()


class TestDrip:
    """Bytes that come one by one are no stall; a head that does not end is."""

    def test_of_a_body_is_read(
        self, nginx: Nginx, new_proxy: NewProxy, new_client: NewClient
    ) -> None:
        nginx.put("faults", "drip", DATA)
        proxy = new_proxy(nginx.port)
        client = new_client(
            proxy.endpoint,
            unsigned=True,
            credentials=None,
            first_byte_timeout=10.0,
            stall_timeout=1.0,
        )
        # Longer in all than stall_timeout, each byte much sooner, also on a busy machine.
        proxy.plan(*(Fault("drip", 400 + PART * part, seconds=1.5) for part in range(3)))
        reader = client.get_object("faults", "drip", reader_constructor=UNBUFFERED)
        assert reader.read() == DATA
        assert proxy.fired == 3
        assert client.stats()["retries"] == {}

    def test_of_a_head_is_a_timeout_in_the_end(
        self, scripted: Callable[..., ScriptedServer], new_proxy: NewProxy, new_client: NewClient
    ) -> None:
        endless = b"HTTP/1.1 206 Partial Content\r\n" + b"x-more: and more\r\n" * 5000
        proxy = new_proxy(scripted([Reply(raw=endless)]).port)
        client = new_client(proxy.endpoint, max_attempts=2)
        proxy.plan(*(Fault("drip", at, seconds=0.5) for at in range(100, 4000)))
        began = time.monotonic()
        with pytest.raises(S3TimeoutError, match="first_byte_timeout"):
            client.get_object("bucket", "key").read()
        assert time.monotonic() - began < 5.0


@pytest.mark.parametrize("etag", [{"ETag": '"v"'}, {}], ids=["etag", "none"])
@pytest.mark.parametrize("length", [60, PART, len(DATA)])
def test_error_in_a_200_is_not_data(
    scripted: Callable[..., ScriptedServer],
    new_client: NewClient,
    etag: dict[str, str],
    length: int,
) -> None:
    """To a request for a range past the object's beginning, where a 200 is always wrong."""
    error = b"<Error><Code>InternalError</Code><Message>late</Message></Error>".ljust(length)
    good = object_script(DATA)
    bad = [True]
    server = scripted(lambda request: Reply(200, etag, error) if bad else good(request))
    reader = new_client(server.endpoint).get_object("b", "k", reader_constructor=UNBUFFERED)
    reader.seek(100)
    with pytest.raises(S3Exception):
        reader.read(50)
    assert reader.tell() == 100
    bad.clear()
    assert reader.read(50) == DATA[100:150]
