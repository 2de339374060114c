"""What goes over the wire: addresses, headers, signatures, corrections."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from asking import DATA, anything, ask_all, scope_region
from servers.scripted import Reply, ScriptedServer, object_script

from s3reader import S3Client, S3Exception

CUSTOMER_KEY = bytes(range(100, 132))

Scripted = Callable[..., ScriptedServer]
ClientFor = Callable[..., S3Client]


# Addressing.


def test_custom_endpoint_on_an_address_takes_path_style(
    scripted: Scripted, client_for: ClientFor
) -> None:
    server = scripted(anything)
    ask_all(client_for(server.endpoint + "/prefix/"), key="a/b")
    targets = [request.target.partition("?")[0] for request in server.requests]
    assert targets == ["/prefix/bucket/a/b", "/prefix/bucket/a/b", "/prefix/bucket"]
    assert {request.headers["host"] for request in server.requests} == {f"127.0.0.1:{server.port}"}


def test_bucket_goes_into_the_host_name(scripted: Scripted, client_for: ClientFor) -> None:
    server = scripted(anything)
    # The scripted server stands for all hosts: as their proxy it sees URLs in place of paths.
    for endpoint, bucket, expected in (
        ("http://s3.example.test", "bucket", "http://bucket.s3.example.test/"),
        ("http://s3.example.test:8080", "bucket", "http://bucket.s3.example.test:8080/"),
        ("http://s3.example.test", "dotted.bucket", "http://dotted.bucket.s3.example.test/"),
        ("http://s3.example.test", "Old_Bucket", "http://s3.example.test/Old_Bucket/"),
        ("http://localhost", "bucket", "http://localhost/bucket/"),
        ("http://[::1]:9000", "bucket", "http://[::1]:9000/bucket/"),
    ):
        asked = len(server.requests)
        ask_all(client_for(endpoint, proxy=server.endpoint), bucket=bucket)
        requests = server.requests[asked:]
        assert len(requests) == 3
        for request in requests:
            assert request.target.startswith(expected.rstrip("/"))
            assert request.headers["host"] == expected.split("/")[2]
        assert requests[0].target == expected + "key"


def test_path_style_can_be_forced(scripted: Scripted, client_for: ClientFor) -> None:
    server = scripted(anything)
    client = client_for("http://s3.example.test", proxy=server.endpoint, force_path_style=True)
    ask_all(client)
    assert server.requests[0].target == "http://s3.example.test/bucket/key"


def test_endpoint_of_the_environment(
    scripted: Scripted, client_for: ClientFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, other = scripted(anything), scripted(anything)
    monkeypatch.setenv("AWS_ENDPOINT_URL", other.endpoint)
    ask_all(client_for(None))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.endpoint)
    monkeypatch.setenv("AWS_REGION", "ap-south-1")
    ask_all(client_for(None, None))
    assert (len(other.requests), len(server.requests)) == (3, 3)
    assert {scope_region(request) for request in server.requests} == {"ap-south-1"}


# Headers.


def test_requests_carry_what_they_should_and_nothing_else(
    scripted: Scripted, client_for: ClientFor
) -> None:
    server = scripted(anything)
    ask_all(client_for(server.endpoint))
    common = {
        "host",
        "user-agent",
        "accept",
        "authorization",
        "x-amz-date",
        "x-amz-content-sha256",
        "x-amz-security-token",
    }
    get, head, listing = server.requests
    assert set(get.headers) - common == {"range", "x-amz-checksum-mode"}
    assert set(head.headers) - common == {"x-amz-checksum-mode"}
    assert set(listing.headers) - common == {"x-amz-optional-object-attributes"}


def test_unsigned_requests_have_no_authorization(
    scripted: Scripted, client_for: ClientFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOFENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    server = scripted(anything)
    ask_all(client_for(server.endpoint, unsigned=True))
    for request in server.requests:
        assert "authorization" not in request.headers
        assert "x-amz-security-token" not in request.headers


def test_requester_pays_goes_with_every_request(scripted: Scripted, client_for: ClientFor) -> None:
    server = scripted(anything)
    ask_all(client_for(server.endpoint, requester_pays=True))
    for request in server.requests:
        assert request.headers["x-amz-request-payer"] == "requester"
        assert "x-amz-request-payer" in request.headers["authorization"]


def test_customer_key_goes_with_every_request_of_the_object(
    scripted: Scripted, client_for: ClientFor, hides_secrets: Callable[..., None]
) -> None:
    server = scripted(object_script(DATA))
    client = client_for(server.endpoint)
    reader = client.get_object("bucket", "key", sse_customer_key=CUSTOMER_KEY)
    assert reader.read() == DATA
    client.head_object("bucket", "key", sse_customer_key=CUSTOMER_KEY)
    prefix = "x-amz-server-side-encryption-customer-"
    encoded = base64.b64encode(CUSTOMER_KEY).decode()
    digest = base64.b64encode(hashlib.md5(CUSTOMER_KEY).digest()).decode()
    for request in server.requests:
        assert request.headers[prefix + "algorithm"] == "AES256"
        assert request.headers[prefix + "key"] == encoded
        assert request.headers[prefix + "key-md5"] == digest
        assert prefix + "key-md5" in request.headers["authorization"]
    hides_secrets(repr(reader), repr(client), also=(encoded, digest))
    refusing = scripted(
        lambda request: Reply(
            400,
            body=b"<Error><Code>InvalidRequest</Code><Message>"
            + str(request.headers).replace("<", "").encode()
            + b"</Message></Error>",
        )
    )
    with pytest.raises(S3Exception) as caught:
        client_for(refusing.endpoint).get_object(
            "bucket", "key", sse_customer_key=CUSTOMER_KEY
        ).read()
    hides_secrets(caught.value, repr(caught.value), also=(encoded, digest))


@pytest.mark.parametrize("key", [b"", b"short", b"x" * 31, b"x" * 33])
def test_customer_key_of_a_wrong_length_is_refused(client_for: ClientFor, key: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        client_for("http://localhost").get_object("bucket", "key", sse_customer_key=key)


@pytest.mark.parametrize("key", ["x" * 32, 5, [1] * 32])
def test_customer_key_of_a_wrong_type_is_refused(client_for: ClientFor, key: Any) -> None:
    with pytest.raises(TypeError, match="sse_customer_key"):
        client_for("http://localhost").get_object("bucket", "key", sse_customer_key=key)


def test_customer_key_never_leaves_for_aws_in_the_clear(
    scripted: Scripted, client_for: ClientFor
) -> None:
    server = scripted(anything)
    client = client_for("http://s3.us-east-1.amazonaws.com", proxy=server.endpoint)
    with pytest.raises(ValueError, match="https"):
        client.get_object("bucket", "key", sse_customer_key=CUSTOMER_KEY)
    with pytest.raises(ValueError, match="https"):
        client.head_object("bucket", "key", sse_customer_key=CUSTOMER_KEY)
    assert server.requests == []


def test_version_goes_with_every_request(scripted: Scripted, client_for: ClientFor) -> None:
    server = scripted(object_script(DATA))
    client = client_for(server.endpoint)
    client.get_object("bucket", "key", version_id="a/b+c=").read()
    client.head_object("bucket", "key", version_id="a/b+c=")
    for request in server.requests:
        assert request.target == "/bucket/key?versionId=a%2Fb%2Bc%3D"


class Agent:
    prefix = "trainer/2.0 (a; b)"


@pytest.mark.parametrize("given", ["trainer/2.0 (a; b)", Agent()])
def test_user_agent_begins_with_what_was_given(
    scripted: Scripted, client_for: ClientFor, given: object
) -> None:
    server = scripted(anything)
    client = client_for(server.endpoint, user_agent=given)
    ask_all(client)
    for request in server.requests:
        assert request.headers["user-agent"] == client.user_agent_prefix
        assert request.headers["user-agent"].startswith("trainer/2.0 (a; b) s3reader/")
        assert "libcurl/" in request.headers["user-agent"]


@pytest.mark.parametrize("agent", ["a\r\nx-evil: 1", "a\nb", "a\0b", "a\x7fb", "\x1b[0m"])
def test_user_agent_is_no_way_into_the_headers(agent: str) -> None:
    with pytest.raises(ValueError, match="user_agent"):
        S3Client("us-east-1", user_agent=agent)


def test_user_agent_takes_text_or_an_object_with_a_prefix() -> None:
    for wrong in (5, b"bytes", object()):
        with pytest.raises(TypeError, match="user_agent"):
            S3Client("us-east-1", user_agent=wrong)
