"""Bucket and key names: botocore's encoder as the judge of keys, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.utils import percent_encode
from hypothesis import example, given
from hypothesis import strategies as st

from s3reader.names import MAX_KEY_BYTES, check_bucket, quote_key


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256))
@example("a key with spaces + = ~ % %20")
@example("//double//slash/./dot/../dots/")
@example("..")
@example("sch\u00f6n/\u65e5\u672c/\U0001f40d")
@example("\0\r\n\x7f")
@example("k" * MAX_KEY_BYTES)
def test_key_is_quoted_as_botocore_does(key: str) -> None:
    assert quote_key(key) == percent_encode(key, safe="/~")


@pytest.mark.parametrize(
    ("key", "error", "words"),
    [
        ("", ValueError, "Key should be specified"),
        ("k" * 1025, ValueError, "key is 1025 bytes of UTF-8, S3 allows 1024"),
        ("\u65e5" * 342, ValueError, "key is 1026 bytes"),
        ("\ud800", ValueError, "lone surrogate"),
        (b"key", TypeError, "key takes a str, not bytes"),
    ],
)
def test_impossible_key_is_refused(key: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        quote_key(key)


@pytest.mark.parametrize(
    "bucket", ["abc", "with.dots", "Upper_Case", "tenant:bucket", "ab", "x-s3alias", "b" * 255]
)
def test_older_and_foreign_bucket_names_pass(bucket: str) -> None:
    check_bucket(bucket)


@pytest.mark.parametrize(
    ("bucket", "error", "words"),
    [
        ("", ValueError, "Bucket should be specified"),
        ("s3://bucket", ValueError, "without 's3://'"),
        ("bucket/key", ValueError, "bucket takes a name"),
        ("bucket\n", ValueError, "bucket takes a name"),
        ("a bucket", ValueError, "bucket takes a name"),
        ("bucket?x", ValueError, "bucket takes a name"),
        (".", ValueError, "bucket takes a name"),
        ("..", ValueError, "bucket takes a name"),
        ("b" * 256, ValueError, "bucket takes a name"),
        ("arn:aws:s3:us-east-1:1:accesspoint/x", ValueError, "use its alias"),
        (None, TypeError, "bucket takes a str, not NoneType"),
    ],
)
def test_impossible_bucket_is_refused(bucket: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        check_bucket(bucket)
