"""Listings: pages, prefixes, odd keys; going on after an error and in another process."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from servers.embedded_s3 import S3
from servers.scripted import Reply, Request, ScriptedServer

from s3reader import IncompleteDataError, ObjectInfo, S3Client, S3Exception

KEYS = sorted(
    [f"plain/{number:03}" for number in range(12)]
    + ["odd/a b", "odd/a+b", "odd/%41", "odd/&<>\"'", "odd/日本/é", "odd//x", "odd/\x01", "top"],
    key=lambda key: key.encode(),
)

Scripted = Callable[..., ScriptedServer]
ClientFor = Callable[..., S3Client]


@pytest.fixture(scope="module")
def listed(s3_server: S3) -> Iterator[str]:
    bucket = s3_server.create_bucket()
    for number, key in enumerate(KEYS):
        s3_server.put(bucket, key, b"x" * number)
    return bucket


def keys_of(pages: Any) -> list[str]:
    return [info.key for page in pages for info in page.object_info]


def test_listing_gives_every_key_once_in_order(listed: str, client: S3Client) -> None:
    assert keys_of(client.list_objects(listed)) == KEYS
    pages = list(client.list_objects(listed, max_keys=3))
    assert [len(page.object_info) for page in pages] == [3] * (len(KEYS) // 3) + [len(KEYS) % 3]
    assert keys_of(pages) == KEYS


def test_listing_tells_about_objects(s3: S3, listed: str, client: S3Client) -> None:
    (page,) = client.list_objects(listed)
    for number, info in enumerate(page.object_info):
        assert isinstance(info, ObjectInfo)
        assert info.size == number
        assert info.etag.startswith('"')
        assert abs(info.last_modified - time.time()) < 3600
        assert info.storage_class in (None, "STANDARD")
        assert info.restore_status is None
        assert pickle.loads(pickle.dumps(info)) == info
        head = client.head_object(listed, info.key)
        assert (head.size, head.etag) == (info.size, info.etag)
        assert abs(head.last_modified - info.last_modified) <= 1


@pytest.mark.parametrize("prefix", ["odd/", "odd/a", "odd/a+", "odd/日", "odd/%", "none", "odd/&"])
def test_prefix_selects(listed: str, client: S3Client, prefix: str) -> None:
    expected = [key for key in KEYS if key.startswith(prefix)]
    assert keys_of(client.list_objects(listed, prefix)) == expected
    assert keys_of(client.list_objects(listed, prefix, max_keys=1)) == expected


def test_delimiter_groups(listed: str, client: S3Client) -> None:
    for max_keys in (1000, 1):
        pages = list(client.list_objects(listed, delimiter="/", max_keys=max_keys))
        assert keys_of(pages) == ["top"]
        prefixes = [prefix for page in pages for prefix in page.common_prefixes]
        assert prefixes == ["odd/", "plain/"]
    (page,) = client.list_objects(listed, "odd/", "/")
    assert page.common_prefixes == ["odd//", "odd/日本/"]
    (page,) = client.list_objects(listed, "odd/", "a+")
    assert page.common_prefixes == ["odd/a+"]


def test_empty_bucket_has_one_empty_page(s3: S3, client: S3Client) -> None:
    pages = list(client.list_objects(s3.create_bucket()))
    assert [(page.object_info, page.common_prefixes) for page in pages] == [([], [])]


def test_listing_pickles_in_the_middle(listed: str, client: S3Client) -> None:
    pages = client.list_objects(listed, max_keys=5)
    first = next(pages)
    twin = pickle.loads(pickle.dumps(pages))
    assert keys_of([first, *twin]) == KEYS
    assert keys_of([first, *pages]) == KEYS
    assert list(pickle.loads(pickle.dumps(pages))) == []
    twin._client.close()


@pytest.mark.parametrize("max_keys", [0, -1, 1001])
def test_impossible_page_size_is_refused(client: S3Client, max_keys: int) -> None:
    with pytest.raises(ValueError, match="max_keys"):
        client.list_objects("bucket", max_keys=max_keys)


@pytest.mark.parametrize("max_keys", [1.5, "10", None, True])
def test_page_size_of_a_wrong_type_is_refused(client: S3Client, max_keys: Any) -> None:
    with pytest.raises(TypeError, match="max_keys"):
        client.list_objects("bucket", max_keys=max_keys)


@pytest.mark.parametrize("name", ["prefix", "delimiter"])
def test_names_of_a_wrong_type_are_refused(client: S3Client, name: str) -> None:
    with pytest.raises(TypeError, match=name):
        client.list_objects("bucket", **{name: 5})


# What a server may answer, scripted.


def listing(inner: str) -> Reply:
    xmlns = "http://s3.amazonaws.com/doc/2006-03-01/"
    document = f'<?xml version="1.0"?><ListBucketResult xmlns="{xmlns}">{inner}</ListBucketResult>'
    return Reply(body=document.encode())


def entry(key: str, more: str = "") -> str:
    return (
        f"<Contents><Key>{key}</Key><LastModified>2024-02-29T12:00:01.500Z</LastModified>"
        f'<ETag>"v"</ETag><Size>5</Size>{more}</Contents>'
    )


def test_listing_goes_on_where_an_error_broke_it(scripted: Scripted, client_for: ClientFor) -> None:
    failing = {1}

    def answer(request: Request) -> Reply:
        if request.index in failing:
            return Reply(403, body=b"<Error><Code>AccessDenied</Code></Error>")
        if "continuation-token=a%2Bb%3D" in request.target:
            return listing(entry("second") + "<IsTruncated>false</IsTruncated>")
        token = "<NextContinuationToken>a+b=</NextContinuationToken>"
        return listing(entry("first") + f"<IsTruncated>true</IsTruncated>{token}")

    pages = client_for(scripted(answer).endpoint).list_objects("bucket")
    assert keys_of([next(pages)]) == ["first"]
    with pytest.raises(S3Exception):
        next(pages)
    assert keys_of([next(pages)]) == ["second"]
    with pytest.raises(StopIteration):
        next(pages)


def test_listing_is_asked_for_again_after_a_server_error(
    scripted: Scripted, client_for: ClientFor
) -> None:
    server = scripted([Reply(500), listing(entry("key"))])
    client = client_for(server.endpoint)
    assert keys_of(client.list_objects("bucket")) == ["key"]
    assert client.stats()["retries"] == {"server_error": 1}


def test_listing_cut_short_is_asked_for_again(scripted: Scripted, client_for: ClientFor) -> None:
    whole = listing(entry("key"))
    server = scripted([Reply(body=whole.body, cut_body_after=50), whole])
    assert keys_of(client_for(server.endpoint).list_objects("bucket")) == ["key"]


def test_listing_that_turns_in_circles_is_an_error(
    scripted: Scripted, client_for: ClientFor
) -> None:
    token = "<NextContinuationToken>again</NextContinuationToken>"
    server = scripted([listing(entry("key") + f"<IsTruncated>true</IsTruncated>{token}")])
    pages = client_for(server.endpoint).list_objects("bucket")
    assert keys_of([next(pages)]) == ["key"]
    with pytest.raises(IncompleteDataError, match="continuation token"):
        next(pages)


def test_plain_and_encoded_keys_are_told_apart(scripted: Scripted, client_for: ClientFor) -> None:
    for encoding, expected in (("<EncodingType>url</EncodingType>", "a b c"), ("", "a+b%20c")):
        server = scripted([listing(encoding + entry("a+b%20c"))])
        assert keys_of(client_for(server.endpoint).list_objects("bucket")) == [expected]


def test_archived_objects_tell_their_restore(scripted: Scripted, client_for: ClientFor) -> None:
    archived = (
        "<StorageClass>GLACIER</StorageClass><RestoreStatus>"
        "<IsRestoreInProgress>false</IsRestoreInProgress>"
        "<RestoreExpiryDate>2024-03-01T00:00:00.000Z</RestoreExpiryDate></RestoreStatus>"
    )
    server = scripted([listing(entry("key", archived))])
    (page,) = client_for(server.endpoint).list_objects("bucket")
    (info,) = page.object_info
    assert info.storage_class == "GLACIER"
    assert info.last_modified == 1709208001
    assert info.restore_status is not None
    assert info.restore_status.in_progress is False
    assert info.restore_status.expiry == 1709251200


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html><body>Welcome to nginx</body></html>",
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        b"<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>k</Key><Size>x</Size></Contents></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>k</Key><Size>1</Size>"
        b"<LastModified>yesterday</LastModified></Contents></ListBucketResult>",
        b"<ListBucketResult><Contents>",
        b'<?xml version="1.0" encoding="none-such"?><ListBucketResult/>',
        b"<Error><Code>InternalError</Code><Message>too late for a 500</Message></Error>",
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><ListBucketResult>&a;</ListBucketResult>',
        '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE x [<!ENTITY a "a">]>'
        "<ListBucketResult><Prefix>&a;</Prefix></ListBucketResult>".encode("utf-16"),
    ],
)
def test_answer_that_is_no_listing_is_an_error(
    scripted: Scripted, client_for: ClientFor, document: bytes
) -> None:
    pages = client_for(scripted([Reply(body=document)]).endpoint).list_objects("bucket", "pre")
    for _ in range(2):
        with pytest.raises(IncompleteDataError, match="s3://bucket/pre") as caught:
            next(pages)
        assert caught.value.operation == "ListObjectsV2"
