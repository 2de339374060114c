"""One request of each operation, a scripted S3 that answers it, and what a request tells."""

from __future__ import annotations

from typing import Any

from servers.scripted import Reply, Request, object_script

from s3reader import S3Client

DATA = bytes(range(256)) * 40


def page(request: Request) -> Reply:
    return Reply(body=b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")


def anything(request: Request) -> Reply:
    """Objects, and an empty listing of every bucket."""
    return page(request) if "list-type=2" in request.target else object_script(DATA)(request)


def ask_all(client: S3Client, bucket: str = "bucket", key: str = "key", **extra: Any) -> None:
    """One request of each operation."""
    assert client.get_object(bucket, key, **extra).read() == DATA
    assert client.head_object(bucket, key, **extra).size == len(DATA)
    assert [each.object_info for each in client.list_objects(bucket)] == [[]]


def scope_region(request: Request) -> str:
    return request.headers["authorization"].partition("Credential=")[2].split("/")[2]


def access_key(request: Request) -> str:
    return request.headers["authorization"].partition("Credential=")[2].split("/")[0]
