"""What an S3 that checks signatures makes of ours: keys and queries of any kind, a wrong secret.

The requests are sent by Python's own HTTP client exactly as signed, so only signer, encoder and
endpoint are under test.
"""

from __future__ import annotations

import contextlib
import http.client
import time
from xml.etree import ElementTree

import pytest
from servers.embedded_s3 import S3

from s3reader._ext import sigv4
from s3reader.config import S3ClientConfig
from s3reader.endpoint import EndpointResolver, Target

ODD_KEYS = [
    "a key with spaces",
    "plus+equals=tilde~percent%20",
    "sch\u00f6n/\u65e5\u672c/\U0001f40d",
    "double//slash",
    "/leading",
    "trailing/",
    "./dot/../dotdot/.",
    "..",
    "!*'();:@&$,?#[]\"<>^`{|}",
    "k" * 1024,
]


def send(
    s3: S3,
    target: Target,
    pairs: list[tuple[str, str]] | None = None,
    headers: list[tuple[str, str]] | None = None,
    secret_key: str | None = None,
) -> tuple[int, bytes]:
    query = sigv4.canonical_query(pairs or [])
    signed = sigv4.sign(
        "GET",
        target.host,
        target.path,
        query,
        headers or [],
        s3.access_key,
        secret_key or s3.secret_key,
        None,
        target.region,
        time.time(),
    )
    kind = http.client.HTTPSConnection if target.scheme == "https" else http.client.HTTPConnection
    with contextlib.closing(kind(target.host, timeout=30)) as connection:
        connection.request("GET", f"{target.path}?{query}".rstrip("?"), headers=dict(signed))
        response = connection.getresponse()
        return response.status, response.read()


@pytest.fixture
def resolver(s3: S3) -> EndpointResolver:
    return EndpointResolver(s3.region, s3.endpoint, S3ClientConfig(), {})


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_key_is_signed_right(s3: S3, resolver: EndpointResolver, bucket: str, key: str) -> None:
    s3.put(bucket, key, key.encode())
    assert send(s3, resolver.object(bucket, key)) == (200, key.encode())


def test_extra_header_is_signed_right(s3: S3, resolver: EndpointResolver, bucket: str) -> None:
    s3.put(bucket, "requester-pays", b"data")
    target = resolver.object(bucket, "requester-pays")
    assert send(s3, target, headers=[("x-amz-request-payer", "requester")]) == (200, b"data")


@pytest.mark.parametrize("prefix", ["a b", "a+b", "a%20b=c&d/", "sch\u00f6n~"])
def test_odd_query_is_signed_right(
    s3: S3, resolver: EndpointResolver, bucket: str, prefix: str
) -> None:
    s3.put(bucket, f"{prefix}/one", b"1")
    pairs = [("prefix", prefix), ("list-type", "2"), ("delimiter", "")]
    status, body = send(s3, resolver.bucket(bucket), pairs)
    assert status == 200
    assert f"{prefix}/one" in [
        element.text for element in ElementTree.fromstring(body).iter() if "Key" in element.tag
    ]


def test_wrong_secret_is_refused(s3: S3, resolver: EndpointResolver, bucket: str) -> None:
    s3.put(bucket, "private", b"data")
    target = resolver.object(bucket, "private")
    status, body = send(s3, target, secret_key=s3.secret_key[::-1])
    assert status == 403
    assert b"SignatureDoesNotMatch" in body
