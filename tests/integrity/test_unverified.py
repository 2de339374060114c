"""What is read without being verified, and why; nothing is refused for it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from checksum_twins import ChecksummedObject
from make_readers import checkpoint, ranged, sequential
from servers.faults import PART, cut
from servers.scripted import ScriptedServer
from sources import ForeignSource
from whole_reads import LARGE, READERS, SMALL, in_one_piece, in_pieces, open_large

from s3reader import ChecksumError, Integrity, S3Client

Serve = Callable[..., tuple[S3Client, ScriptedServer]]


def test_no_request_is_made_for_a_checksum(serve: Serve) -> None:
    client, server = serve(ChecksummedObject(LARGE))
    reader = client.get_object("bucket", "key")
    assert reader.read() == LARGE
    assert {request.method for request in server.requests} == {"GET"}
    assert reader.integrity.algorithm is None
    assert "no response told" in reader.integrity.reason


@pytest.mark.parametrize("kind", ["COMPOSITE", None])
@pytest.mark.parametrize("suffix", ["-6", ""])
def test_composite_checksum_is_recognised_and_left_alone(
    serve: Serve, kind: str | None, suffix: str
) -> None:
    script = ChecksummedObject(LARGE, "crc32", kind)
    script.replace(LARGE, '"0123456789abcdef0123456789abcdef-6"')
    script.told = {"crc32": base64.b64encode(b"of the parts"[:4]).decode() + suffix}
    client, _ = serve(script)
    reader = open_large(client)
    assert reader.read() == LARGE
    assert reader.integrity.verified == "none"
    assert reader.integrity.algorithm == "crc32"
    assert "composite" in reader.integrity.reason


@pytest.mark.parametrize("name", READERS)
def test_checksum_told_with_a_part_of_the_object_is_not_the_parts(serve: Serve, name: str) -> None:
    script = ChecksummedObject(LARGE, "crc32")
    script.on_every_range = True
    client, _ = serve(script)
    reader = client.get_object("bucket", "key", reader_constructor=READERS[name])
    assert in_pieces(reader, len(LARGE)) == LARGE
    assert reader.integrity.verified == "none"


def test_head_of_a_resumed_response_is_not_that_of_the_object(serve: Serve) -> None:
    script = ChecksummedObject(SMALL, "crc32")
    script.on_every_range = True
    script.go_wrong(cut(1000), times=1)
    client, server = serve(script)
    reader = client.get_object("bucket", "key")
    assert reader.read() == SMALL
    assert len(server.requests) == 2
    assert reader.integrity.verified == "none"


def test_hash_takes_the_bytes_in_order(serve: Serve) -> None:
    client, _ = serve(ChecksummedObject(LARGE, "sha256"))
    reader = open_large(client, "unbuffered")
    reader.seek(PART)
    reader.read()
    reader.seek(0)
    reader.read(PART)
    assert reader.integrity.verified == "none"
    assert "in order" in reader.integrity.reason
    reader.seek(0)
    assert reader.read() == LARGE
    assert reader.integrity.verified == "whole"


def test_bytes_fetched_again_are_not_said_to_be_verified(serve: Serve) -> None:
    client, _ = serve(ChecksummedObject(LARGE, "crc32"))
    reader = open_large(client, "unbuffered")
    assert reader.read() == LARGE
    assert reader.integrity.verified == "whole"
    reader.seek(5)
    reader.read(5)
    assert reader.integrity.verified == "none"


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_nothing_is_asked_or_verified_where_checksums_are_off(serve: Serve, data: bytes) -> None:
    script = ChecksummedObject(data)
    script.flipped = 3
    client, server = serve(script, checksum_mode=False)
    reader = client.get_object("bucket", "key", object_info=client.head_object("bucket", "key"))
    assert len(reader.read()) == len(data)
    assert reader.integrity == Integrity(reason="checksum_mode is off")
    assert not any("x-amz-checksum-mode" in request.headers for request in server.requests)


def test_what_cannot_be_computed_is_read_and_reported(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = serve(ChecksummedObject(SMALL, "crc32c"))
    monkeypatch.setattr("s3reader.checksums.crc_function", lambda name: None)
    reader = client.get_object("bucket", "key")
    assert reader.read() == SMALL
    assert reader.integrity.algorithm == "crc32c"
    assert "pip install s3reader[checksums]" in reader.integrity.reason


def test_object_that_is_replaced_is_not_held_to_the_old_checksum(serve: Serve) -> None:
    script = ChecksummedObject(LARGE)
    client, _ = serve(script)
    info = client.head_object("bucket", "key")
    script.replace(LARGE[::-1], '"another"')
    with pytest.raises(OSError, match="key") as caught:
        client.get_object("bucket", "key", object_info=info).read()
    assert not isinstance(caught.value, ChecksumError)


def test_empty_object_has_nothing_to_verify(serve: Serve) -> None:
    client, _ = serve(ChecksummedObject(b""))
    reader = open_large(client)
    assert reader.read() == b""
    assert reader.integrity == Integrity("none", "crc32", "FULL_OBJECT", "the object is empty")


@pytest.mark.parametrize("make", [sequential, ranged, checkpoint])
def test_callables_of_others_are_read_unverified(make: Callable[..., Any]) -> None:
    reader = make(ForeignSource(LARGE))
    assert in_one_piece(reader, len(LARGE)) == LARGE
    assert reader.integrity.verified == "none"
    assert "not the client's own" in reader.integrity.reason
