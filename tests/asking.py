"""One request of each operation, a scripted S3 that answers it, and what request and error tell."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

from servers.scripted import Reply, Request, object_script

from s3reader import S3Client, S3Exception

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


def check(error: S3Exception, hides_secrets: Callable[..., None], *words: str) -> None:
    """What holds for every error: words are there, secrets are not, and it pickles."""
    for word in words:
        assert word in str(error), f"{word!r} is not in {str(error)!r}"
    hides_secrets(str(error), repr(error), error.args, vars(error))
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)
        assert twin.errno == error.errno
    cause = error.__cause__ or error.__context__
    while cause is not None:
        hides_secrets(str(cause), repr(cause))
        cause = cause.__cause__ or cause.__context__
