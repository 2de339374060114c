"""A selection: which objects, or ranges of them, a caller wants to have read together.

What the caller gives may be any iterable, endless ones too. It is looked at one element at a time,
as the objects are asked for.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from .names import check_bucket, check_key, parse_uri
from .results import ObjectInfo, is_etag

Range = tuple[int, int | None]
"""First byte and one past the last, in bytes; None for the object's end."""


class Selected(NamedTuple):
    """One object of a selection, and which of its bytes."""

    bucket: str
    key: str
    info: ObjectInfo | None
    """What a listing told about it: the version and size it must have."""
    start: int
    stop: int | None
    """None for the object's end."""


def select(
    bucket: str | Iterable[object],
    keys: Iterable[str | ObjectInfo] | None,
    ranges: Iterable[Range | None] | None,
) -> Iterator[Selected]:
    """The objects that `S3Client.read_many` was given, in order.

    Raises:
        TypeError, ValueError: of what is wrong at first sight; the iterator raises what is wrong
            with an element when it comes to it.
    """
    if isinstance(bucket, str):
        if keys is None:
            raise TypeError(
                "read_many takes a bucket and an iterable of keys, or an iterable of s3:// URIs; "
                f"got only {bucket!r}"
            )
        check_bucket(bucket)
        names = _names_in(bucket, _iterable("keys", keys))
    elif keys is not None:
        raise TypeError(f"bucket takes a str, not {type(bucket).__name__}")
    else:
        names = map(_named, _iterable("read_many", bucket))
    if ranges is None:
        return (Selected(bucket, key, info, 0, None) for bucket, key, info in names)
    return _with_ranges(names, _iterable("ranges", ranges))


def _iterable(name: str, given: Iterable[object]) -> Iterator[object]:
    # A lone name would be taken for an iterable of its characters.
    if isinstance(given, (str, bytes, os.PathLike)) or not isinstance(given, Iterable):
        raise TypeError(f"{name} takes an iterable, not {type(given).__name__}")
    return iter(given)


_Named = tuple[str, str, "ObjectInfo | None"]


def _names_in(bucket: str, keys: Iterator[object]) -> Iterator[_Named]:
    for key in keys:
        if isinstance(key, ObjectInfo):
            check_key(key.key)
            if not is_etag(key.etag):
                raise ValueError(f"keys takes the ETag of a version, not {key.etag[:100]!r}")
            yield bucket, key.key, key
        else:
            check_key(key)  # type: ignore[arg-type]  # which it finds out
            yield bucket, key, None  # type: ignore[misc]


def _named(element: object) -> _Named:
    if isinstance(element, (str, os.PathLike)):
        bucket, key = parse_uri(element)
    elif isinstance(element, tuple) and len(element) == 2:
        bucket, key = element
    else:
        raise TypeError(
            "without keys, read_many takes s3:// URIs or pairs of bucket and key, not "
            f"{type(element).__name__}"
        )
    check_bucket(bucket)
    check_key(key)
    return bucket, key, None


def _with_ranges(names: Iterator[_Named], ranges: Iterator[object]) -> Iterator[Selected]:
    for (bucket, key, info), bounds in zip(names, ranges, strict=True):
        start, stop = (0, None) if bounds is None else _checked(bounds)
        yield Selected(bucket, key, info, start, stop)


def _checked(bounds: Any) -> Range:
    try:
        first, last = bounds
        start = operator.index(first)
        stop = None if last is None else operator.index(last)
    except (TypeError, ValueError):
        raise TypeError(
            f"ranges takes pairs of integers (start, stop), or None, not {bounds!r}"
        ) from None
    if start < 0 or (stop is not None and stop <= start):
        raise ValueError(f"bytes [{start}, {stop}) are not a range that has any")
    return start, stop
