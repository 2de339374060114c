"""Where requests may go: never to another host than the configured one, never down to http."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asking import DATA
from servers.certificates import Certificates
from servers.proxy import Proxy
from servers.scripted import Reply, Request, ScriptedServer, object_script

from s3reader import S3Client, S3ClientConfig, S3Exception, WrongRegionError
from s3reader.endpoint import EndpointResolver
from s3reader.request import Signer

Scripted = Callable[..., ScriptedServer]
ClientFor = Callable[..., S3Client]

ASKS: dict[str, Callable[[S3Client], Any]] = {
    "get": lambda client: client.get_object("bucket", "key").read(),
    "head": lambda client: client.head_object("bucket", "key"),
    "list": lambda client: next(client.list_objects("bucket")),
}


def elsewhere(status: int, trap: ScriptedServer, scheme: str = "http") -> Reply:
    """Every way in which a server can name another host."""
    place = f"{scheme}://127.0.0.1:{trap.port}/bucket/key"
    page = (
        f"<Error><Code>PermanentRedirect</Code><Endpoint>127.0.0.1:{trap.port}</Endpoint>"
        f"<Bucket>bucket</Bucket></Error>"
    )
    headers = {
        "Location": place,
        "Content-Location": place,
        "Refresh": f"0; url={place}",
        "Alt-Svc": f'h2=":{trap.port}"; ma=86400, h3=":{trap.port}"',
        "Link": f"<{place}>; rel=canonical",
        "Set-Cookie": "session=1; Domain=127.0.0.1",
    }
    return Reply(status, headers, page.encode())


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS.keys())
@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
def test_redirect_to_another_host_is_not_followed(
    scripted: Scripted,
    client_for: ClientFor,
    hides_secrets: Callable[..., None],
    trap: ScriptedServer,
    status: int,
    ask: Callable[[S3Client], Any],
) -> None:
    server = scripted([elsewhere(status, trap)])
    client = client_for(server.endpoint)
    for _ in range(2):
        with pytest.raises(S3Exception) as caught:
            ask(client)
        assert caught.value.status == status
        hides_secrets(str(caught.value), vars(caught.value))
    assert {request.target.partition("?")[0] for request in server.requests} <= {
        "/bucket",
        "/bucket/key",
    }


def test_answers_that_name_another_host_do_not_move_later_requests(
    scripted: Scripted, client_for: ClientFor, trap: ScriptedServer
) -> None:
    good = object_script(DATA)

    def answer(request: Request) -> Reply:
        reply = good(request)
        return Reply(reply.status, {**elsewhere(200, trap).headers, **reply.headers}, reply.body)

    server = scripted(answer)
    client = client_for(server.endpoint, part_size=4096)
    for _ in range(3):
        assert client.get_object("bucket", "key").read() == DATA
    assert all("cookie" not in request.headers for request in server.requests)


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS.keys())
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_https_never_goes_on_over_http(
    scripted: Scripted,
    certificates: Certificates,
    client_for: ClientFor,
    trap: ScriptedServer,
    status: int,
    ask: Callable[[S3Client], Any],
) -> None:
    secure = scripted([elsewhere(status, trap)], (certificates.chain, certificates.key))
    client = client_for(secure.endpoint, ca_bundle=certificates.authority)
    with pytest.raises(WrongRegionError):
        ask(client)


def test_tls_that_fails_is_not_tried_without(
    scripted: Scripted, certificates: Certificates, client_for: ClientFor
) -> None:
    plain = scripted(object_script(DATA))
    client = client_for(
        f"https://127.0.0.1:{plain.port}", ca_bundle=certificates.authority, connect_timeout=0.3
    )
    with pytest.raises(S3Exception):
        client.get_object("bucket", "key").read()
    assert plain.requests == []  # nothing readable came, least of all a signed request


def test_found_region_keeps_https_and_the_owner_of_the_host(
    scripted: Scripted, certificates: Certificates, client_for: ClientFor
) -> None:
    """Only the region's part of the host changes, through a proxy that stands for all of AWS."""
    replies = [Reply(301, {"x-amz-bucket-region": "eu-central-1"})]
    secure = scripted(replies, (certificates.chain, certificates.key))
    with Proxy({"": secure.port}) as proxy:
        client = client_for(None, proxy=proxy.url, ca_bundle=certificates.authority)
        with pytest.raises(S3Exception):
            client.get_object("bucket", "key").read()
        assert proxy.asked
        for asked in proxy.asked:
            assert asked.startswith("CONNECT bucket.s3.")
            assert asked.endswith(".amazonaws.com:443")


@pytest.mark.parametrize(
    "named",
    [
        "evil.example.com",
        "eu-west-1.evil.com",
        "eu-west-1/",
        "eu-west-1@evil",
        "eu-west-1#",
        "eu-west-1?",
        "eu-west-1:80",
        "eu-west-1\r\nHost: evil",
        "eu-west-1\0",
        "\uff45u-west-1",
        "-eu",
        "",
        "x" * 64,
        # Another owner's hosts: these credentials mean nothing there.
        "cn-north-1",
        "us-iso-east-1",
        "us-isob-east-1",
        "eu-isoe-west-1",
        "eusc-de-east-1",
    ],
)
def test_servers_region_cannot_name_another_owners_host(named: str) -> None:
    resolver = EndpointResolver("us-east-1", None, S3ClientConfig(), {})
    assert not resolver.follows_to(named)
    signer = Signer("us-east-1", None, S3ClientConfig(unsigned=True), {})
    assert not signer.takes_region(named)


@pytest.mark.parametrize(
    ("home", "named"),
    [
        ("us-east-1", "eu-central-1"),
        ("us-east-1", "us-gov-west-1"),
        ("cn-north-1", "cn-northwest-1"),
        ("us-iso-east-1", "us-iso-west-1"),
    ],
)
def test_bucket_is_followed_within_its_partition(home: str, named: str) -> None:
    resolver = EndpointResolver(home, None, S3ClientConfig(), {})
    assert resolver.follows_to(named)
    ending = resolver.object("bucket", "key").host.partition(home)[2]
    assert resolver.object("bucket", "key", named).host.endswith(named + ending)


def test_custom_endpoint_keeps_its_host_whatever_region_is_named() -> None:
    resolver = EndpointResolver("us-east-1", "https://minio.example:9000", S3ClientConfig(), {})
    for named in ("eu-central-1", "cn-north-1", "RegionOne", "evil.example.com"):
        host = resolver.object("bucket", "key", named).host
        assert host.removeprefix("bucket.") == "minio.example:9000"
