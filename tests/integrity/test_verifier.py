"""The verifier at random: it never says "whole" of bytes that are not the object's."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from checksum_twins import ChecksummedObject, checksum
from hypothesis import given
from hypothesis import strategies as st
from servers.faults import PART, pattern

from s3reader import ChecksumError, HeadObjectResult
from s3reader.integrity import Verifier
from s3reader.source import ObjectSource

DATA = bytes(range(40))
SIZE = len(DATA)

cuts = st.lists(st.integers(0, SIZE), max_size=6)
ranges = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(sorted)


def verifier_of(algorithm: str) -> Verifier:
    verifier = Verifier("bucket", "key")
    told = {algorithm: checksum(algorithm, DATA)}
    verifier.told(HeadObjectResult('"e"', SIZE, 0, checksums=told, checksum_type="FULL_OBJECT"))
    return verifier


def give(verifier: Verifier, start: int, piece: bytes) -> None:
    verifier.take(start, memoryview(piece))


@given(st.sampled_from(["crc32", "sha1"]), st.lists(st.tuples(ranges, st.booleans())), cuts)
def test_whole_is_said_of_the_right_bytes_only(
    algorithm: str, pieces: list[Any], ends: list[int]
) -> None:
    verifier = verifier_of(algorithm)
    held: dict[int, int] = {}  # what a reader holds that keeps the newest bytes it was given

    def hand_out(start: int, piece: bytes) -> bool:
        try:
            give(verifier, start, piece)
        except ChecksumError:
            assert verifier.integrity.verified == "none"
            assert verifier.failed
            return False
        held.update(zip(range(start, start + len(piece)), piece, strict=True))
        if verifier.integrity.verified == "whole":
            assert bytes(held[at] for at in range(SIZE)) == DATA
        return True

    for (start, end), wrong in pieces:
        piece = bytearray(DATA[start:end])
        if wrong and piece:
            piece[0] ^= 1
        hand_out(start, bytes(piece))
    # The whole in order; wrong bytes seen before may be found out by the first piece of it.
    in_order = list(itertools.pairwise(sorted({0, SIZE, *ends})))
    if not all(hand_out(start, DATA[start:end]) for start, end in in_order):
        assert all(hand_out(start, DATA[start:end]) for start, end in in_order)
    assert verifier.integrity.verified == "whole"
    assert not verifier.failed


@given(st.permutations(range(8)))
def test_crc_is_joined_in_any_order(order: list[int]) -> None:
    verifier = verifier_of("crc32")
    for number in order:
        assert verifier.integrity.verified == "none"
        give(verifier, 5 * number, DATA[5 * number : 5 * number + 5])
    assert verifier.integrity.verified == "whole"


@pytest.mark.parametrize("algorithm", ["crc32", "sha256"])
def test_what_was_not_handed_out_after_all_is_forgotten(algorithm: str) -> None:
    verifier = verifier_of(algorithm)
    give(verifier, 0, DATA[:10])
    mark = verifier.mark()
    give(verifier, 10, b"wrong")
    verifier.restore(mark)
    give(verifier, 10, DATA[10:])
    assert verifier.integrity.verified == "whole"


@pytest.mark.parametrize("algorithm", ["crc32", "sha256"])
def test_after_a_mismatch_reading_begins_again_at_the_start(algorithm: str) -> None:
    verifier = verifier_of(algorithm)
    give(verifier, 0, b"?" * 10)
    for _ in range(2):
        with pytest.raises(ChecksumError):
            give(verifier, 10, DATA[10:])
    with pytest.raises(ChecksumError):
        give(verifier, 20, DATA[20:25])
    give(verifier, 0, DATA[:10])
    give(verifier, 10, DATA[10:])
    assert verifier.integrity.verified == "whole"


def test_stream_read_in_pieces_is_verified_once_all_is_out(serve: Any) -> None:
    data = pattern(PART)
    script = ChecksummedObject(data)
    client, _ = serve(script)
    source = client.get_object("bucket", "key")._get_stream
    assert isinstance(source, ObjectSource)
    for flipped in (None, 3):
        script.flipped = flipped
        stream = source()
        stream.prefetch()
        buffer = bytearray(1000)
        for _ in range(PART // 1000):
            assert stream.readinto(buffer) == 1000
        if flipped is None:
            assert source.verifier.integrity.verified == "none"
            assert stream.readinto(buffer) == PART % 1000
            assert source.verifier.integrity.verified == "whole"
        else:
            with pytest.raises(ChecksumError):
                stream.readinto(buffer)
            assert stream.tell() == PART // 1000 * 1000
        stream.close()


@pytest.mark.parametrize("algorithm", ["crc32", "sha1"])
def test_streams_of_several_threads_raise_no_false_alarm(serve: Any, algorithm: str) -> None:
    data = pattern(6 * PART)
    client, _ = serve(ChecksummedObject(data, algorithm))
    info = client.head_object("bucket", "key")
    source = client.get_object("bucket", "key", object_info=info)._get_stream

    def read(number: int) -> bool:
        buffer = bytearray(len(data))
        for start in (0, 0, number * PART, 0):
            with memoryview(buffer)[start:] as rest:
                assert source(start).readinto(rest) == len(rest)
        return buffer == data

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(read, range(6)))
