"""What a benchmark finds to read under a URI."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from servers.embedded_s3 import S3

from s3reader import BucketNotFoundError, ObjectInfo, RestoreStatus
from s3reader.bench import objects
from s3reader.bench.objects import SMALL_SIZE, Found, NothingToRead, find_objects, parse_place


@pytest.fixture
def prefix() -> str:
    """A folder of a test's own."""
    return f"bench-{secrets.token_hex(4)}/"


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/", ("bucket", "")),
        ("S3://bucket/a/b", ("bucket", "a/b")),
        ("s3://bucket/a//%20", ("bucket", "a//%20")),
    ],
)
def test_place(uri: str, place: tuple[str, str]) -> None:
    assert parse_place(uri) == place


@pytest.mark.parametrize("uri", ["", "bucket/key", "s3:/bucket", "s3://", "s3:///key", "/s3://b"])
def test_what_is_no_place_is_refused_with_what_would_be(uri: str) -> None:
    with pytest.raises(ValueError, match=r"a place in S3 is s3://bucket"):
        parse_place(uri)


def test_objects_are_told_apart_by_size(s3: S3, bucket: str, client: Any, prefix: str) -> None:
    for name, size in (("empty", 0), ("tiny", 1), ("most", SMALL_SIZE), ("large", SMALL_SIZE + 1)):
        s3.put(bucket, prefix + name, bytes(size))
    found = find_objects(client, bucket, prefix)
    assert [info.key for info in found.large] == [f"{prefix}large"]
    assert sorted(info.key for info in found.small) == [f"{prefix}most", f"{prefix}tiny"]
    assert (found.left_out, found.whole, found.size) == (1, True, 2 * SMALL_SIZE + 2)


def test_archived_objects_are_left_out_until_they_are_restored() -> None:
    found = Found("bucket", "")
    for storage_class, restore in (
        ("GLACIER", None),
        ("DEEP_ARCHIVE", RestoreStatus(in_progress=True)),
        ("GLACIER", RestoreStatus(in_progress=False, expiry=2_000_000_000)),
        ("GLACIER_IR", None),
        ("STANDARD", None),
    ):
        found.add([ObjectInfo("key", '"tag"', 1, 0, storage_class, restore)])
    assert (len(found.small), found.left_out) == (3, 2)


def test_key_means_that_object_alone(s3: S3, bucket: str, client: Any, prefix: str) -> None:
    for name in ("a", "ab", "a/b"):
        s3.put(bucket, prefix + name, b"x")
    found = find_objects(client, bucket, f"{prefix}a")
    assert [info.key for info in found.small] == [f"{prefix}a"]
    assert s3.requests("ListObjectsV2") == []
    reader = client.get_object(bucket, found.small[0].key, object_info=found.small[0])
    assert reader.read() == b"x"


def test_prefix_may_end_within_a_name(s3: S3, bucket: str, client: Any, prefix: str) -> None:
    s3.put(bucket, f"{prefix}shard-1", b"x")
    s3.put(bucket, f"{prefix}shard-2", b"x")
    assert len(find_objects(client, bucket, f"{prefix}shard-").small) == 2


def test_long_listing_is_cut(
    s3: S3, bucket: str, client: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        s3.put(bucket, f"{prefix}{number}", b"x")
    monkeypatch.setattr(objects, "MOST_LISTED", 3)
    found = find_objects(client, bucket, prefix)
    assert (len(found.small), found.whole) == (3, False)


def test_nothing_is_said_with_the_place(s3: S3, bucket: str, client: Any, prefix: str) -> None:
    with pytest.raises(NothingToRead, match=f"^s3://{bucket}/{prefix}: no objects. Check the"):
        find_objects(client, bucket, prefix)
    s3.put(bucket, f"{prefix}empty", b"")
    with pytest.raises(NothingToRead, match=r"only empty or archived objects \(1\)"):
        find_objects(client, bucket, prefix)


def test_missing_bucket_is_named(client: Any) -> None:
    with pytest.raises(BucketNotFoundError, match="s3://s3reader-bench-of-nobody"):
        find_objects(client, "s3reader-bench-of-nobody", "some/prefix")
