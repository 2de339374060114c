"""What lies between the client and S3: TLS and whom it trusts, and proxies."""

from __future__ import annotations

import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asking import DATA, anything, ask_all, scope_region
from servers.certificates import EXPIRED, Certificates, make_certificates
from servers.embedded_s3 import EmbeddedS3
from servers.proxy import Proxy
from servers.scripted import Reply, Request, ScriptedServer

from s3reader import CertificateError, S3Client, S3ConnectionError, S3Exception

PASSWORD = "hunter2%40hunter3"  # as it stands in a URL: hunter2@hunter3
BUNDLES = ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")

Scripted = Callable[..., ScriptedServer]
ClientFor = Callable[..., S3Client]


def pair(certificates: Certificates) -> tuple[str, str]:
    return certificates.chain, certificates.key


@pytest.fixture
def secure(scripted: Scripted, certificates: Certificates) -> ScriptedServer:
    """A scripted S3 over TLS."""
    return scripted(anything, pair(certificates))


@pytest.fixture
def proxy_to() -> Iterator[Callable[..., Proxy]]:
    """Starts a ``Proxy``; ended with the test."""
    proxies = []

    def start(hosts: dict[str, int], **settings: object) -> Proxy:
        proxies.append(Proxy(hosts, **settings))  # type: ignore[arg-type]
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()


# Certificates.


def test_own_authority_is_trusted_where_it_is_given(
    secure: ScriptedServer, certificates: Certificates, client_for: ClientFor
) -> None:
    ask_all(client_for(secure.endpoint, ca_bundle=certificates.authority))
    ask_all(client_for(secure.endpoint, ca_bundle=Path(certificates.authority)))
    ask_all(client_for(f"https://localhost:{secure.port}", ca_bundle=certificates.authority))


@pytest.mark.parametrize("name", BUNDLES)
def test_own_authority_is_trusted_from_the_environment(
    secure: ScriptedServer,
    certificates: Certificates,
    client_for: ClientFor,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    for other in BUNDLES:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, certificates.authority)
    ask_all(client_for(secure.endpoint))


def refused(client: S3Client, server: ScriptedServer, hides: Callable[..., None]) -> str:
    """The words of the `CertificateError` that every operation ends in."""
    message = ""
    for ask in (
        lambda: client.get_object("bucket", "key").read(),
        lambda: client.head_object("bucket", "key"),
        lambda: next(client.list_objects("bucket")),
    ):
        with pytest.raises(CertificateError) as caught:
            ask()
        message = str(caught.value)
        assert isinstance(caught.value, ConnectionError)
        assert "Tried once" in message
        assert "ca_bundle" in message
        assert str(pickle.loads(pickle.dumps(caught.value))) == message
        hides(message, repr(caught.value))
    assert server.requests == []
    return message


def test_unknown_authority_is_refused(
    secure: ScriptedServer, client_for: ClientFor, hides_secrets: Callable[..., None]
) -> None:
    message = refused(client_for(secure.endpoint), secure, hides_secrets)
    assert "not trusted" in message
    assert "local issuer" in message or "self-signed" in message


def test_other_authority_is_refused(
    secure: ScriptedServer,
    client_for: ClientFor,
    hides_secrets: Callable[..., None],
    tmp_path: Path,
) -> None:
    other = make_certificates(tmp_path)
    client = client_for(secure.endpoint, ca_bundle=other.authority)
    refused(client, secure, hides_secrets)


def test_certificate_of_another_host_is_refused(
    scripted: Scripted,
    client_for: ClientFor,
    hides_secrets: Callable[..., None],
    tmp_path: Path,
) -> None:
    certificates = make_certificates(tmp_path, ("s3.example.com",))
    server = scripted(anything, pair(certificates))
    client = client_for(server.endpoint, ca_bundle=certificates.authority)
    message = refused(client, server, hides_secrets)
    assert "127.0.0.1" in message
    assert "check the host name" in message


def test_expired_certificate_is_refused(
    scripted: Scripted,
    client_for: ClientFor,
    hides_secrets: Callable[..., None],
    tmp_path: Path,
) -> None:
    certificates = make_certificates(tmp_path, lifetime=EXPIRED)
    server = scripted(anything, pair(certificates))
    client = client_for(server.endpoint, ca_bundle=certificates.authority)
    assert "expired" in refused(client, server, hides_secrets)


def test_bundle_that_is_not_there_is_named(secure: ScriptedServer, client_for: ClientFor) -> None:
    client = client_for(secure.endpoint, ca_bundle="/no/such/file.pem")
    with pytest.raises(ValueError, match=r"ca_bundle.*/no/such/file\.pem"):
        client.head_object("bucket", "key")


def test_bundle_without_certificates_is_refused(
    secure: ScriptedServer, client_for: ClientFor, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("not a certificate\n")
    with pytest.raises(CertificateError, match="ca_bundle"):
        client_for(secure.endpoint, ca_bundle=empty).head_object("bucket", "key")


def test_plain_port_asked_for_tls_and_the_reverse(
    embedded_s3: EmbeddedS3, secure: ScriptedServer, client_for: ClientFor
) -> None:
    with pytest.raises(S3ConnectionError, match="https") as caught:
        client_for(f"https://127.0.0.1:{embedded_s3.port}").head_object("bucket", "key")
    assert not isinstance(caught.value, CertificateError)
    with pytest.raises(S3ConnectionError):
        client_for(f"http://127.0.0.1:{secure.port}").head_object("bucket", "key")


# Proxies.


def test_plain_requests_go_through_the_proxy(
    scripted: Scripted, client_for: ClientFor, proxy_to: Callable[..., Proxy]
) -> None:
    server = scripted(anything)
    proxy = proxy_to({"": server.port})
    ask_all(client_for("http://s3.example.test", proxy=proxy.url))
    assert proxy.asked[0] == "GET http://bucket.s3.example.test/key"
    assert len(proxy.asked) == 3
    assert {request.headers["host"] for request in server.requests} == {"bucket.s3.example.test"}


def test_tls_goes_through_a_tunnel_and_checks_the_host(
    secure: ScriptedServer,
    certificates: Certificates,
    client_for: ClientFor,
    proxy_to: Callable[..., Proxy],
    hides_secrets: Callable[..., None],
) -> None:
    proxy = proxy_to({"": secure.port})
    settings = {"proxy": proxy.url, "ca_bundle": certificates.authority}
    ask_all(client_for("https://localhost", **settings))
    assert set(proxy.asked) == {"CONNECT localhost:443"}
    asked = len(secure.requests)
    client = client_for("https://s3.example.test", **settings)
    with pytest.raises(CertificateError, match=r"bucket\.s3\.example\.test"):
        client.head_object("bucket", "key")
    assert len(secure.requests) == asked


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_proxy_of_the_environment(
    secure: ScriptedServer,
    certificates: Certificates,
    client_for: ClientFor,
    proxy_to: Callable[..., Proxy],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    proxy = proxy_to({"": secure.port})
    monkeypatch.setenv(name, f"127.0.0.1:{proxy.port}")
    ask_all(client_for("https://localhost", ca_bundle=certificates.authority))
    assert set(proxy.asked) == {"CONNECT localhost:443"}


def test_no_proxy_exempts(
    secure: ScriptedServer,
    certificates: Certificates,
    client_for: ClientFor,
    proxy_to: Callable[..., Proxy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy = proxy_to({"": secure.port})
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    for exempt in ("localhost", "10.0.0.0/8, localhost", "*"):
        monkeypatch.setenv("NO_PROXY", exempt)
        endpoint = f"https://localhost:{secure.port}"
        ask_all(client_for(endpoint, ca_bundle=certificates.authority))
    monkeypatch.setenv("NO_PROXY", "")
    ask_all(client_for(secure.endpoint, ca_bundle=certificates.authority, proxy=""))
    assert proxy.asked == []


def test_proxy_takes_a_password(
    secure: ScriptedServer,
    certificates: Certificates,
    client_for: ClientFor,
    proxy_to: Callable[..., Proxy],
) -> None:
    proxy = proxy_to({"": secure.port}, user="user:hunter2@hunter3")
    url = f"http://user:{PASSWORD}@127.0.0.1:{proxy.port}"
    ask_all(client_for("https://localhost", proxy=url, ca_bundle=certificates.authority))
    assert all("proxy-authorization" not in request.headers for request in secure.requests)


@pytest.mark.parametrize("endpoint", ["https://localhost", "http://s3.example.test"])
@pytest.mark.parametrize("trouble", ["password", "refused", "unreachable", "unknown", "gone"])
def test_proxy_that_fails_is_blamed_and_its_password_hidden(
    secure: ScriptedServer,
    client_for: ClientFor,
    proxy_to: Callable[..., Proxy],
    hides_secrets: Callable[..., None],
    endpoint: str,
    trouble: str,
) -> None:
    hosts = {} if trouble == "unreachable" else {"": secure.port}
    proxy = proxy_to(hosts, user="someone:else", refusal=0)
    user = f"user:{PASSWORD}"
    if trouble in ("refused", "unreachable"):
        user = "someone:else"
        proxy = proxy_to(hosts, user=user, refusal=403 if trouble == "refused" else 0)
    address = f"127.0.0.1:{proxy.port}"
    if trouble == "unknown":
        address = "no-such-proxy.invalid:3128"
    elif trouble == "gone":
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = f"127.0.0.1:{listener.getsockname()[1]}"
    client = client_for(endpoint, proxy=f"http://{user}@{address}", max_attempts=1)
    with pytest.raises(S3Exception) as caught:
        client.get_object("bucket", "key").read()
    error = caught.value
    hides_secrets(error, repr(error), vars(error), repr(client), repr(client.s3client_config))
    hides_secrets(error, repr(client.s3client_config), also=("hunter", "else@", ":else"))
    if endpoint.startswith("https") or trouble in ("password", "unknown"):
        assert type(error) is S3ConnectionError
        assert "proxy" in str(error)
    assert secure.requests == []


def test_region_of_aws_is_found_through_a_tunnel(
    scripted: Scripted,
    client_for: ClientFor,
    proxy_to: Callable[..., Proxy],
    tmp_path: Path,
) -> None:
    """AWS's own endpoints: the redirect changes host and signature, and is remembered."""
    regions = ("us-east-1", "eu-west-3")
    hosts = tuple(f"*.s3.{region}.amazonaws.com" for region in regions)
    certificates = make_certificates(tmp_path, hosts)

    def answer(request: Request) -> Reply:
        if request.headers["host"] == "bucket.s3.eu-west-3.amazonaws.com":
            assert scope_region(request) == "eu-west-3"
            return anything(request)
        if request.method == "HEAD":
            return Reply(400, {"x-amz-bucket-region": "eu-west-3"})
        body = b"<Error><Code>PermanentRedirect</Code><Endpoint>elsewhere</Endpoint></Error>"
        return Reply(301, {"x-amz-bucket-region": "eu-west-3", "Location": "http://x/"}, body)

    for first in ("get", "head", "list"):
        server = scripted(answer, pair(certificates))
        proxy = proxy_to({"": server.port})
        client = client_for(None, proxy=proxy.url, ca_bundle=certificates.authority, max_attempts=1)
        if first == "get":
            assert client.get_object("bucket", "key").read() == DATA
        elif first == "head":
            assert client.head_object("bucket", "key").size == len(DATA)
        else:
            assert len(list(client.list_objects("bucket"))) == 1
        ask_all(client)
        asked = [request.headers["host"].split(".")[2] for request in server.requests]
        assert asked == ["us-east-1", *["eu-west-3"] * 4]
        assert client.region == "us-east-1"


@pytest.mark.parametrize(
    "key", ["plain", "a b+c=d~e%20", "./../x//", "日本/é", "!*'();:@,$[]{}|"], ids=ascii
)
def test_signature_for_a_bucket_in_the_host_name_is_accepted(
    embedded_s3: EmbeddedS3, client_for: ClientFor, proxy_to: Callable[..., Proxy], key: str
) -> None:
    bucket = embedded_s3.create_bucket()
    embedded_s3.put(bucket, key, DATA)
    embedded_s3.reset()
    proxy = proxy_to({"": embedded_s3.port})
    client = client_for(
        "http://s3.us-east-1.amazonaws.com",
        proxy=proxy.url,
        credentials=embedded_s3.credentials,
    )
    assert client.get_object(bucket, key).read() == DATA
    assert client.head_object(bucket, key).size == len(DATA)
    (page,) = client.list_objects(bucket)
    assert [info.key for info in page.object_info] == [key]
    for request in embedded_s3.requests():
        assert request.headers["Host"] == f"{bucket}.s3.us-east-1.amazonaws.com"


@pytest.mark.parametrize("key", ["/leading", "//two", "/./../x//", "."])
def test_odd_path_reaches_the_host_of_the_bucket_as_it_is_signed(
    scripted: Scripted, client_for: ClientFor, proxy_to: Callable[..., Proxy], key: str
) -> None:
    """Moto takes such a path, below a bucket's own host, for a URL: the wire is looked at."""
    server = scripted(anything)
    proxy = proxy_to({"": server.port})
    client = client_for("http://s3.us-east-1.amazonaws.com", proxy=proxy.url)
    assert client.get_object("bucket", key).read() == DATA
    assert server.requests[0].target == f"/{key}"


def test_proxy_serves_many_at_once(
    secure: ScriptedServer,
    certificates: Certificates,
    client_for: ClientFor,
    proxy_to: Callable[..., Proxy],
) -> None:
    proxy = proxy_to({"": secure.port})
    client = client_for("https://localhost", proxy=proxy.url, ca_bundle=certificates.authority)
    bodies: list[bytes] = []

    def read() -> None:
        bodies.append(client.get_object("bucket", "key").read())

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bodies == [DATA] * 6
