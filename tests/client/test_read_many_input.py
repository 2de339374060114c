"""Many objects read together: what bad input does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest
from many_objects import contents, many, objects

from s3reader import S3Client

__all__ = ["many", "objects"]


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            (("bucket",), TypeError, "a bucket and an iterable of keys"),
            (("bucket", "key"), TypeError, "keys takes an iterable, not str"),
            (("bucket", b"key"), TypeError, "keys takes an iterable, not bytes"),
            (("bucket", 5), TypeError, "keys takes an iterable, not int"),
            (("", ["key"]), ValueError, "Bucket should be specified"),
            (("s3://bucket/", ["key"]), ValueError, "without 's3://'"),
            ((5,), TypeError, "an iterable, not int"),
            ((["s3://b/k"], ["key"]), TypeError, "bucket takes a str, not list"),
        ],
    )
    def test_at_once(
        self, client: S3Client, arguments: tuple[Any, ...], error: type[Exception], words: str
    ) -> None:
        with pytest.raises(error, match=words):
            client.read_many(*arguments)

    @pytest.mark.parametrize(
        ("options", "error", "words"),
        [
            ({"errors": "ignore"}, ValueError, "errors takes"),
            ({"ranges": 5}, TypeError, "ranges takes an iterable"),
            ({"into": 5}, TypeError, "into takes a writable buffer.* not int"),
            ({"into": "text"}, TypeError, "into takes a writable buffer"),
            ({"into": b"bytes"}, TypeError, "into takes a writable buffer"),
            ({"into": numpy.zeros((0, 5))}, ValueError, "no room"),
            ({"into": numpy.zeros((5, 0))}, ValueError, "no room"),
            ({"into": bytearray()}, ValueError, "no room"),
            ({"into": numpy.zeros((4, 4))[:, ::2]}, TypeError, "contiguous"),
            ({"into": memoryview(bytes(10))}, TypeError, "writable"),
            ({"sse_customer_key": b"short"}, ValueError, "32 bytes"),
        ],
    )
    def test_options_at_once(
        self, client: S3Client, options: dict[str, Any], error: type[Exception], words: str
    ) -> None:
        with pytest.raises(error, match=words):
            client.read_many("bucket", ["key"], **options)

    @pytest.mark.parametrize("errors", ["raise", "return"])
    @pytest.mark.parametrize(
        ("element", "error", "words"),
        [
            (5, TypeError, "key takes a str, not int"),
            ("", ValueError, "Key should be specified"),
            ("k" * 1025, ValueError, "1024"),
            (b"key", TypeError, "key takes a str"),
        ],
    )
    def test_bad_key_when_it_is_its_turn(
        self,
        many: S3Client,
        bucket: str,
        objects: dict[str, bytes],
        errors: str,
        element: Any,
        error: type[Exception],
        words: str,
    ) -> None:
        batch = many.read_many(bucket, [*objects, element], errors=errors)
        for key in objects:
            assert next(batch).key == key
        with pytest.raises(error, match=words):
            next(batch)
        assert list(batch) == []

    @pytest.mark.parametrize("element", ["bucket/key", "s3://bucket", ("a", "b", "c"), 5])
    def test_bad_name_without_a_bucket(self, client: S3Client, element: Any) -> None:
        with pytest.raises((TypeError, ValueError), match="s3://"):
            list(client.read_many([element]))

    def test_error_of_the_callers_iterator(
        self, many: S3Client, bucket: str, objects: dict[str, bytes]
    ) -> None:
        def keys() -> Iterator[str]:
            yield from objects
            raise LookupError("no more")

        batch = many.read_many(bucket, keys())
        assert contents(itertools.islice(batch, len(objects))) == objects
        with pytest.raises(LookupError, match="no more"):
            next(batch)

    def test_more_objects_than_places(
        self, many: S3Client, bucket: str, objects: dict[str, bytes]
    ) -> None:
        for into in (numpy.zeros((3, 4096), numpy.uint8), [bytearray(4096) for _ in range(3)]):
            batch = many.read_many(bucket, objects, into=into)
            for _ in range(3):
                next(batch)
            with pytest.raises(ValueError, match="into has 3"):
                next(batch)

    @pytest.mark.parametrize("bounds", [(5, 5), (5, 4), (-1, 5), 5, (1.5, 2), ("a", 2), (1, 2, 3)])
    def test_bad_range(self, client: S3Client, bucket: str, bounds: Any) -> None:
        with pytest.raises((TypeError, ValueError), match="range"):
            list(client.read_many(bucket, ["key"], ranges=[bounds]))

    def test_ranges_of_another_number(
        self, many: S3Client, bucket: str, objects: dict[str, bytes]
    ) -> None:
        with pytest.raises(ValueError, match="argument"):
            list(many.read_many(bucket, objects, ranges=[None]))

    def test_closed_client(self, new_client: Callable[..., Any]) -> None:
        client = new_client()
        client.close()
        with pytest.raises(ValueError, match="closed"):
            client.read_many("bucket", ["key"])
