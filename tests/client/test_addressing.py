"""Addressing, regions and signatures, judged by a server that checks every signature.

The server is always the embedded one: it stands in for AWS's host names as a proxy, and holds
buckets in regions and objects with ACLs that another S3 may not allow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from servers.embedded_s3 import EmbeddedS3

from s3reader import AccessDeniedError, S3Client, S3ClientConfig

KEYS = [
    "plain",
    "a b+c/\u00fc",
    "a%20b",
    "a//b",
    "//x",
    "/lead",
    "../up",
    "a/./b",
    "~!'()*=&?#",
    "x" * 1024,
]


@pytest.fixture
def connect(embedded_s3: EmbeddedS3) -> Iterator[Callable[..., S3Client]]:
    """Makes a client; `endpoint` is the server's own unless given, the rest is configuration."""
    embedded_s3.reset()
    clients = []

    def make(endpoint: str = embedded_s3.url, **settings: Any) -> S3Client:
        settings = {"credentials": embedded_s3.credentials, **settings}
        config = S3ClientConfig(**settings)
        clients.append(S3Client("us-east-1", endpoint=endpoint, s3client_config=config))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.mark.parametrize("virtual_host", [False, True], ids=["path", "virtual-host"])
def test_any_key_is_signed_right(
    embedded_s3: EmbeddedS3, connect: Callable[..., S3Client], virtual_host: bool
) -> None:
    bucket = embedded_s3.create_bucket()
    for key in KEYS:
        embedded_s3.put(bucket, key, key.encode())
    if virtual_host:
        client = connect("http://s3.us-east-1.amazonaws.com", proxy=embedded_s3.url)
    else:
        client = connect()
    for key in KEYS:
        with client.get_object(bucket, key) as reader:
            assert reader.read() == key.encode()
        assert client.head_object(bucket, key).size == len(key.encode())
    (page,) = client.list_objects(bucket)
    assert sorted(info.key for info in page.object_info) == sorted(KEYS)
    hosts = {request.headers["Host"].partition(".")[0] for request in embedded_s3.requests()}
    assert hosts == {bucket if virtual_host else "127"}
    assert all(request.status in (200, 206) for request in embedded_s3.requests())


def test_other_region_is_found_once(
    embedded_s3: EmbeddedS3, connect: Callable[..., S3Client]
) -> None:
    bucket = embedded_s3.create_bucket(region="eu-west-1")
    embedded_s3.boto_client("s3", region="eu-west-1").put_object(Bucket=bucket, Key="k", Body=b"x")
    client = connect()
    for _ in range(2):
        with client.get_object(bucket, "k") as reader:
            assert reader.read() == b"x"
    assert client.head_object(bucket, "k").size == 1
    assert [request.status for request in embedded_s3.requests()] == [400, 206, 206, 200]
    assert client.stats()["retries"] == {"region": 1}


def test_wrong_secret_is_refused_and_not_told(
    embedded_s3: EmbeddedS3, connect: Callable[..., S3Client]
) -> None:
    bucket = embedded_s3.create_bucket()
    embedded_s3.put(bucket, "k", b"x")
    wrong = {**embedded_s3.credentials, "secret_access_key": "not-the-secret"}
    with pytest.raises(AccessDeniedError) as refused:
        connect(credentials=wrong).get_object(bucket, "k").read()
    assert refused.value.code == "SignatureDoesNotMatch"
    assert "not-the-secret" not in f"{refused.value} {refused.value!r}"
    assert [request.status for request in embedded_s3.requests()] == [403]


def test_public_object_is_read_without_a_signature(
    embedded_s3: EmbeddedS3, connect: Callable[..., S3Client]
) -> None:
    bucket = embedded_s3.create_bucket()
    embedded_s3.put(bucket, "public", b"x", ACL="public-read")
    embedded_s3.put(bucket, "private", b"x")
    client = connect(unsigned=True, credentials=None)
    with client.get_object(bucket, "public") as reader:
        assert reader.read() == b"x"
    with pytest.raises(AccessDeniedError), client.get_object(bucket, "private") as reader:
        reader.read()
    assert [request.signed for request in embedded_s3.requests()] == [False, False]
