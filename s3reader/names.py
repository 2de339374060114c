"""Bucket and key names: what can be one at all, and a key's form in a URL.

S3's own naming rules are stricter, but older buckets and S3-compatible systems break them; what
is refused here could only end in a request for something else than the caller meant.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote

# "Creating object key names", Amazon S3 User Guide: UTF-8 bytes.
MAX_KEY_BYTES = 1024

_PLAIN_KEY = re.compile(rf"[A-Za-z0-9_.~/-]{{1,{MAX_KEY_BYTES}}}")
"""Keys that stay as they are in a URL, as nearly all do."""

_PLAIN_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
"""Buckets by S3's own rules, but for those with dots, as nearly all are."""

_UNUSABLE_IN_BUCKET = re.compile(r"[\s/\\?#\x00-\x1f\x7f]")


def quote_key(key: str) -> str:
    """Percent-encode an object key for the path of a URL.

    RFC 3986's unreserved characters and ``/`` stay, every other byte of the UTF-8 form becomes
    ``%XX``. Empty, ``.`` and ``..`` segments are part of an S3 key and stay as they are.

    Raises:
        ValueError: the key is empty, longer than 1024 bytes, or not expressible in UTF-8.
    """
    if not isinstance(key, str):
        raise TypeError(f"key takes a str, not {type(key).__name__}")
    if _PLAIN_KEY.fullmatch(key):
        return key
    if not key:
        raise ValueError("Key should be specified")
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        raise ValueError(f"key {key!r} is not valid Unicode: it has a lone surrogate") from None
    if len(encoded) > MAX_KEY_BYTES:
        raise ValueError(
            f"key is {len(encoded)} bytes of UTF-8, S3 allows {MAX_KEY_BYTES}: {key[:40]!r}..."
        )
    return quote(encoded, safe="/")


def check_key(key: str) -> None:
    """Raise unless `key` can be an object's key.

    Raises:
        ValueError, TypeError: as `quote_key` does.
    """
    quote_key(key)


def check_bucket(bucket: str) -> None:
    """Raise unless `bucket` can be a bucket's name; older and foreign names are let through.

    Raises:
        ValueError: it is empty, a URI or an ARN, or has characters no bucket has.
    """
    if not isinstance(bucket, str):
        raise TypeError(f"bucket takes a str, not {type(bucket).__name__}")
    if _PLAIN_BUCKET.fullmatch(bucket):
        return
    if not bucket:
        raise ValueError("Bucket should be specified")
    if bucket.startswith("arn:"):
        raise ValueError(
            f"bucket takes a name, got the ARN {bucket!r}: for an access point, use its alias "
            "(it ends in -s3alias) as the bucket's name"
        )
    if _UNUSABLE_IN_BUCKET.search(bucket) or bucket in (".", "..") or len(bucket) > 255:
        raise ValueError(
            f"bucket takes a name such as 'my-bucket', without 's3://' and key, got {bucket!r}"
        )


def parse_uri(uri: str | os.PathLike[str]) -> tuple[str, str]:
    """Bucket and key of "s3://bucket/key"; the key is taken as it stands, nothing is decoded.

    Raises:
        ValueError: it is none.
    """
    text = os.fspath(uri)
    scheme, separator, rest = text.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme.lower() != "s3" or not separator or not bucket or not key:
        raise ValueError(f"an object's URI is s3://bucket/key, not {text!r}")
    return bucket, key
