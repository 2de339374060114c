"""What the demo takes for a difference."""

from __future__ import annotations

from array import array

import pytest

from s3reader.demo.checks import Checks, Stage
from s3reader.demo.report import table

SOURCE = bytes(range(256))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: array("B", data)])
def test_equal_bytes_are_no_difference(kind: type) -> None:
    checks = Checks()
    checks.compare("k", 100, kind(SOURCE[100:120]), SOURCE)
    assert (checks.compared, checks.differences) == (20, [])


@pytest.mark.parametrize(
    ("start", "read", "words"),
    [
        (10, b"\x0a\x0b\xff", "k: byte 12 is 0xff, in the source 0x0c"),
        (250, SOURCE[250:] + b"\0", "k: 7 bytes read at offset 250, where the source has 6"),
        (300, b"\0", "k: 1 bytes read at offset 300, where the source has 0"),
    ],
)
def test_difference_is_named_by_object_and_offset(start: int, read: bytes, words: str) -> None:
    checks = Checks()
    checks.compare("k", start, read, SOURCE)
    assert checks.differences == [words]


def test_unmet_expectation_is_a_difference() -> None:
    checks = Checks()
    checks.expect(True, "not this")
    checks.expect(False, "this")
    assert checks.differences == ["this"]


def test_stage_adds_up_what_readers_counted() -> None:
    stage = Stage("digits", "ranged")
    for _ in range(2):
        stage.count(
            {
                "bytes_received": 10,
                "requests": {"GetObject": 2, "HeadObject": 1},
                "retries": {"timeout": 1},
            }
        )
    assert (stage.bytes, stage.requests, stage.retries) == (20, 6, 2)


def test_table_columns_line_up() -> None:
    stages = [Stage("a", "ranged", 1, 2, 3, 4.0), Stage("longer", "x", 1_000_000, 20, 0, 40.0)]
    assert table(stages).splitlines() == [
        "what    reader      bytes  requests  retries     time",
        "a       ranged          1         2        3   4.00 s",
        "longer  x       1,000,000        20        0  40.00 s",
    ]
