"""Servers that are not S3, or not quite: gateways' pages, MinIO's words for nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from servers.faults import ETAG, PART, FaultyObject, part, pattern, status
from servers.scripted import Reply, ScriptedServer

from s3reader.errors import IncompleteDataError, ObjectChangedError
from s3reader.source import ObjectSource

DATA = pattern(3 * PART + 100)
SIZE = len(DATA)

OpenSource = Callable[..., tuple[ObjectSource, ScriptedServer]]


@pytest.mark.parametrize("size", [20, PART, SIZE])
def test_page_in_an_objects_place_is_not_data(open_source: OpenSource, size: int) -> None:
    faulty = FaultyObject(DATA)
    source, _ = open_source(faulty)
    faulty.go_wrong(lambda request, reply: Reply(200, {"Content-Type": "text/html"}, b"<" * size))
    with pytest.raises(IncompleteDataError, match=r"expected bytes 0-.*received status 200"):
        source().readinto(bytearray(SIZE))
    assert source.size is None
    faulty.go_wrong(None)
    assert b"".join(source()) == DATA


def test_last_bytes_of_an_empty_object_in_minios_words(open_source: OpenSource) -> None:
    faulty = FaultyObject(b"")
    source, _ = open_source(faulty)
    words = {"ETag": ETAG, "Content-Range": "bytes 0--1/0"}
    faulty.go_wrong(lambda request, reply: Reply(206, words, b""))
    assert source.tail(100).readinto(bytearray(100)) == 0
    assert source.size == 0


def test_range_refused_of_an_object_that_has_become_shorter_is_a_change(
    open_source: OpenSource,
) -> None:
    """Of a server that looks at no If-Match."""
    faulty = FaultyObject(DATA)
    shorter = status(416, "InvalidRange", "<ActualObjectSize>9</ActualObjectSize>")
    faulty.go_wrong(shorter, where=part(2))
    source, _ = open_source(faulty)
    with pytest.raises(ObjectChangedError, match=f"expected {SIZE} bytes, .* of 9"):
        source().readinto(bytearray(SIZE))
