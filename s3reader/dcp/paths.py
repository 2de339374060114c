"""Where a checkpoint lies: URIs as torch hands them about.

Torch joins, compares and prints paths, and scripts like to pass a ``pathlib.Path``, which makes
"s3:/bucket/key" of "s3://bucket/key". Here everything is a ``str`` again.
"""

from __future__ import annotations

import os
import re

_SWALLOWED_SLASH = re.compile(r"s3:/(?=[^/])", re.IGNORECASE)


def as_uri(path: str | os.PathLike[str]) -> str:
    """``path`` as "s3://bucket/key" text, with the slash that a ``pathlib.Path`` swallows."""
    return _SWALLOWED_SLASH.sub("s3://", os.fspath(path), count=1)


def split_uri(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Bucket and key; the key may be empty.

    Raises:
        ValueError: it is no URI of S3.
    """
    uri = as_uri(path)
    scheme, separator, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme.lower() != "s3" or not separator or not bucket:
        raise ValueError(f"a checkpoint in S3 is named as s3://bucket/prefix, not {uri!r}")
    return bucket, key
