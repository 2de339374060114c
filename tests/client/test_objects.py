"""Objects as a real server gives them: heads, readers of them, keys of any kind, versions."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from servers.embedded_s3 import S3

import s3reader
from s3reader import (
    AccessDeniedError,
    BucketNotFoundError,
    GetObjectStream,
    HeadObjectResult,
    ObjectNotFoundError,
    RangedS3Reader,
    S3Client,
    S3Exception,
    S3ReaderConstructor,
    SequentialS3Reader,
)

DATA = bytes(range(256)) * 100

ODD_KEYS = [
    "two words",
    "a+b=c&d",
    "~tilde~",
    "100%",
    "%41%2F%2f%",
    "?query=no#fragment",
    "naïve/Ærøskøbing/日本語/🦀",
    "e\u0301 is not \u00e9",
    "//double//slashes//",
    "/leading",
    "trailing/",
    "./dot/./..",
    "../up",
    "a/../../b",
    ".",
    "..",
    "!*'();:@,$[]{}|\\^`<>\"",
    "tab\tand\x01control",
    "k" * 1024,
    "é" * 512,
]


@pytest.mark.parametrize("key", ODD_KEYS, ids=lambda key: ascii(key)[:30])
def test_key_of_any_kind_is_read(s3: S3, bucket: str, client: S3Client, key: str) -> None:
    body = key.encode() * 3
    etag = s3.put(bucket, key, body)
    assert client.get_object(bucket, key).read() == body
    info = client.head_object(bucket, key)
    assert (info.size, info.etag) == (len(body), etag)
    reader = client.get_object(bucket, key, reader_constructor=S3ReaderConstructor.range_based())
    reader.seek(2)
    assert reader.read(5) == body[2:7]


def test_keys_that_cannot_be_are_refused_before_any_request(client: S3Client) -> None:
    for key in ("k" * 1025, "é" * 513, "", "lone \ud800 surrogate"):
        with pytest.raises(ValueError, match=r"[Kk]ey"):
            client.head_object("bucket", key)
        with pytest.raises(ValueError, match=r"[Kk]ey"):
            client.get_object("bucket", key)
    for bucket in ("", "s3://bucket", "a/b", "a bucket", "arn:aws:s3:::bucket"):
        for ask in (client.list_objects, lambda name: client.get_object(name, "key")):
            with pytest.raises(ValueError, match=r"[Bb]ucket"):
                ask(bucket)


@pytest.mark.parametrize("wrong", [None, 5, b"bytes"])
def test_arguments_of_a_wrong_type_are_refused_by_name(client: S3Client, wrong: Any) -> None:
    for ask in (client.get_object, client.head_object):
        with pytest.raises(TypeError, match="key takes a str"):
            ask("bucket", wrong)
        with pytest.raises(TypeError, match="bucket takes a str"):
            ask(wrong, "key")
        if wrong is not None:
            with pytest.raises(TypeError, match="version_id takes a str"):
                ask("bucket", "key", version_id=wrong)
        with pytest.raises(ValueError, match="version_id"):
            ask("bucket", "key", version_id="")
    if wrong is not None:
        with pytest.raises(TypeError, match="s3client_config"):
            S3Client("us-east-1", s3client_config=wrong)


def test_head_tells_all(s3: S3, bucket: str, client: S3Client) -> None:
    etag = s3.put(
        bucket,
        "objects/head",
        DATA,
        ContentType="application/x-test",
        ContentEncoding="identity",
        Metadata={"purpose": "a test", "two": "2"},
        ChecksumAlgorithm="SHA256",
    )
    info = client.head_object(bucket, "objects/head")
    assert isinstance(info, HeadObjectResult)
    assert (info.size, info.etag) == (len(DATA), etag)
    assert abs(info.last_modified - time.time()) < 3600
    assert info.content_type == "application/x-test"
    assert info.content_encoding == "identity"
    assert dict(info.metadata) == {"purpose": "a test", "two": "2"}
    assert set(info.checksums) == {"sha256"}
    assert info.restore_status is None
    assert pickle.loads(pickle.dumps(info)) == info


def test_missing_object_and_bucket(client: S3Client, bucket: str) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        client.get_object(bucket, "objects/none").read()
    assert type(caught.value) is ObjectNotFoundError
    assert (caught.value.code, caught.value.key) == ("NoSuchKey", "objects/none")
    assert caught.value.request_id
    with pytest.raises(ObjectNotFoundError):
        client.head_object(bucket, "objects/none")
    missing = f"{bucket}-none"
    with pytest.raises(BucketNotFoundError):
        client.get_object(missing, "key").read()
    with pytest.raises(BucketNotFoundError):
        next(client.list_objects(missing))


def test_wrong_secret_is_refused_and_not_shown(
    s3: S3,
    bucket: str,
    new_client: Callable[..., S3Client],
    hides_secrets: Callable[..., None],
) -> None:
    s3.put(bucket, "objects/secret", DATA)
    wrong = {"access_key_id": s3.access_key, "secret_access_key": "x" * 20 + "wrongwrongwrong"}
    client = new_client(credentials=wrong)
    for ask in (
        lambda: client.get_object(bucket, "objects/secret").read(),
        lambda: client.head_object(bucket, "objects/secret"),
        lambda: next(client.list_objects(bucket)),
    ):
        with pytest.raises(PermissionError) as caught:
            ask()
        assert type(caught.value) is AccessDeniedError
        hides_secrets(caught.value, repr(caught.value), also=(wrong["secret_access_key"],))


def test_private_object_is_refused_unsigned(
    s3: S3, bucket: str, new_client: Callable[..., S3Client]
) -> None:
    s3.put(bucket, "objects/private", DATA)
    client = new_client(unsigned=True, credentials=None)
    with pytest.raises(AccessDeniedError):
        client.get_object(bucket, "objects/private").read()
    with pytest.raises(AccessDeniedError):
        client.head_object(bucket, "objects/private")


@pytest.fixture(scope="module")
def versioned(s3_server: S3) -> Iterator[str]:
    bucket = s3_server.create_bucket()
    status = {"Status": "Enabled"}
    s3_server.boto.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=status)
    return bucket


def test_version_is_read_by_its_id(s3: S3, versioned: str, client: S3Client) -> None:
    bodies = {}
    for text in ("the first", "the second one"):
        answer = s3.boto.put_object(Bucket=versioned, Key="key", Body=text.encode())
        bodies[answer["VersionId"]] = text.encode()
    for version, body in bodies.items():
        assert client.get_object(versioned, "key", version_id=version).read() == body
        info = client.head_object(versioned, "key", version_id=version)
        assert (info.size, info.version_id) == (len(body), version)
    assert client.get_object(versioned, "key").read() == b"the second one"
    s3.boto.delete_object(Bucket=versioned, Key="key")
    with pytest.raises(ObjectNotFoundError):
        client.get_object(versioned, "key").read()
    assert client.get_object(versioned, "key", version_id=next(iter(bodies))).read() == b"the first"


def test_object_info_of_a_listing_saves_asking_and_pins(
    s3: S3, bucket: str, client: S3Client
) -> None:
    s3.put(bucket, "objects/pinned", DATA)
    (info,) = next(client.list_objects(bucket, "objects/pinned")).object_info
    reader = client.get_object(bucket, "objects/pinned", object_info=info)
    assert reader.seek(0, 2) == len(DATA)
    s3.put(bucket, "objects/pinned", DATA[::-1])
    reader.seek(0)
    with pytest.raises(s3reader.ObjectChangedError):
        reader.read()


def test_object_replaced_while_it_is_read_is_an_error(
    s3: S3, bucket: str, new_client: Callable[..., S3Client]
) -> None:
    client = new_client(part_size=4096)
    constructor = S3ReaderConstructor.range_based(0)
    s3.put(bucket, "objects/replaced", DATA)
    reader = client.get_object(bucket, "objects/replaced", reader_constructor=constructor)
    assert reader.read(10) == DATA[:10]
    s3.put(bucket, "objects/replaced", DATA[::-1])
    with pytest.raises(s3reader.ObjectChangedError):
        reader.read()
    assert reader.tell() == 10


def test_stream_of_the_client(s3: S3, bucket: str, new_client: Callable[..., S3Client]) -> None:
    etag = s3.put(bucket, "objects/stream", DATA)
    client = new_client(part_size=4096)
    streams: list[Any] = []
    client.get_object(
        bucket,
        "objects/stream",
        reader_constructor=lambda **given: streams.append(given["get_stream"]),  # type: ignore[arg-type,return-value,misc]
    )
    stream = streams[0](1000, 20000)
    assert isinstance(stream, GetObjectStream)
    assert (stream.bucket, stream.key) == (bucket, "objects/stream")
    assert (stream.object_size, stream.etag, stream.tell()) == (None, None, 1000)
    chunks = list(stream)
    assert all(type(chunk) is memoryview and chunk.readonly for chunk in chunks)
    assert b"".join(chunks) == DATA[1000:20000]
    assert (stream.object_size, stream.etag, stream.tell()) == (len(DATA), etag, 20000)
    stream.close()
    stream.close()
    buffer = bytearray(len(DATA))
    stream = streams[0]()
    assert stream.readinto(buffer) == len(DATA)
    assert buffer == DATA
    assert stream.readinto(buffer) == 0
    stream.close()
    with pytest.raises(ValueError, match="closed"):
        next(stream)
    for start, end in ((-1, 5), (5, 4)):
        with pytest.raises(ValueError, match="not a range"):
            streams[0](start, end)


def test_open_reads_a_uri(s3: S3, bucket: str, client: S3Client) -> None:
    s3.put(bucket, "objects/a b?c#d%20", DATA)
    uri = f"s3://{bucket}/objects/a b?c#d%20"
    with s3reader.open(uri, client=client) as reader:
        assert type(reader) is SequentialS3Reader
        assert reader.read() == DATA
    ranged = s3reader.open(uri, S3ReaderConstructor.range_based(), client)
    assert type(ranged) is RangedS3Reader
    assert ranged.read(10) == DATA[:10]


def test_open_finds_its_own_client(s3: S3, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.put(bucket, "objects/open", DATA)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    readers = [
        s3reader.open(f"s3://{bucket}/objects/open", region=s3.region, endpoint=s3.endpoint)
        for _ in range(3)
    ]
    assert all(reader.read() == DATA for reader in readers)
    assert len({id(reader._get_stream.session) for reader in readers}) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "uri", ["", "key", "s3://", "s3://bucket", "s3://bucket/", "s3:///key", "https://bucket/key"]
)
def test_open_refuses_what_is_no_uri_of_an_object(uri: str) -> None:
    with pytest.raises(ValueError, match="s3://bucket/key"):
        s3reader.open(uri)


def test_open_refuses_arguments_it_would_ignore(client: S3Client) -> None:
    with pytest.raises(TypeError, match="region"):
        s3reader.open("s3://bucket/key", client=client, region="eu-west-1")
    with pytest.raises(TypeError):
        s3reader.open("s3://bucket/key", client=client, speed="high")


def test_stats_count_what_was_done(
    s3: S3, bucket: str, new_client: Callable[..., S3Client]
) -> None:
    client = new_client(part_size=8192)
    s3.put(bucket, "objects/stats", DATA)
    before = client.stats()
    assert before["requests"] == {}
    assert before["bytes_received"] == before["connections_opened"] == 0
    reader = client.get_object(bucket, "objects/stats")
    other = client.get_object(bucket, "objects/stats")
    assert reader.read() == DATA
    assert other.read(100) == DATA[:100]
    client.head_object(bucket, "objects/stats")
    list(client.list_objects(bucket, "objects/stats"))
    with pytest.raises(S3Exception):
        client.head_object(bucket, "objects/none")
    own, all_ = reader.stats(), client.stats()
    assert own["requests"] == {"GetObject": 4}
    assert own["bytes_requested"] == own["bytes_received"] == len(DATA)
    assert all_["requests"]["GetObject"] > 4
    assert all_["requests"]["HeadObject"] == 2
    assert all_["requests"]["ListObjectsV2"] == 1
    assert all_["retries"] == {}
    assert all_["throttles"] == 0
    first_byte = own["time_to_first_byte"]
    assert first_byte["count"] == 4
    assert 0 < first_byte["p50"] <= first_byte["p99"]
    assert 0 < first_byte["mean"] < 60
    opened, reused = all_["connections_opened"], all_["connections_reused"]
    assert opened >= 1
    assert opened + reused == sum(all_["requests"].values())
