"""Range arithmetic: a table of cases, and random ranges against a plain Python twin."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from range_twins import Bounds, plain_merge, plain_split

from s3reader._ext import ranges

LARGEST = 2**63 - 1

offsets = st.integers(0, 200) | st.integers(0, LARGEST) | st.integers(LARGEST - 200, LARGEST)
bounds = st.tuples(offsets, offsets).map(lambda pair: (min(pair), max(pair)))
gaps = st.integers(0, 2**65) | st.floats(0, allow_nan=False)


@pytest.mark.parametrize(("start", "end"), [(0, 0), (0, 1), (5, 5), (0, LARGEST)])
def test_range_is_valid(start: int, end: int) -> None:
    ranges.validate(start, end)


@pytest.mark.parametrize(
    ("start", "end", "error", "words"),
    [
        (2, 1, ValueError, "Invalid range: 2-1"),
        (-1, 1, ValueError, "start must be a byte offset .* got -1"),
        (0, -1, ValueError, "end must be a byte offset .* got -1"),
        (0, LARGEST + 1, ValueError, "end must be a byte offset"),
        (0, 2**200, ValueError, "end must be a byte offset"),
        (0.0, 1, TypeError, "start must be an int .* got float"),
        (0, None, TypeError, "end must be an int .* got NoneType"),
        (False, 1, TypeError, "start must be an int .* got bool"),
    ],
)
def test_range_is_refused(start: Any, end: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ranges.validate(start, end)
    with pytest.raises(error, match=words):
        ranges.merge([(start, end)], 0)
    with pytest.raises(error, match=words):
        ranges.split(start, end, 1)


@pytest.mark.parametrize(
    ("members", "gap", "expected"),
    [
        ([], 0, []),
        ([(3, 7)], 0, [(3, 7, 0, 0)]),
        ([(0, 1), (1, 2)], 0, [(0, 2, 0, 1)]),
        ([(0, 1), (2, 3)], 0, [(0, 1, 0, 0), (2, 3, 1, 1)]),
        ([(0, 1), (2, 3)], 1, [(0, 3, 0, 1)]),
        ([(0, 1), (2, 3)], 0.5, [(0, 1, 0, 0), (2, 3, 1, 1)]),
        ([(0, 1), (2, 3)], 1.5, [(0, 3, 0, 1)]),
        ([(0, 10), (2, 3), (9, 12)], 0, [(0, 12, 0, 2)]),
        ([(0, 10), (2, 3), (13, 14)], 2, [(0, 10, 0, 1), (13, 14, 2, 2)]),
        ([(4, 4), (4, 4)], 0, [(4, 4, 0, 1)]),
        ([(0, 1), (LARGEST, LARGEST)], math.inf, [(0, LARGEST, 0, 1)]),
        ([(0, 0), (LARGEST, LARGEST)], 2**70, [(0, LARGEST, 0, 1)]),
    ],
)
def test_merge(
    members: list[Bounds], gap: float, expected: list[tuple[int, int, int, int]]
) -> None:
    assert ranges.merge(members, gap) == expected


@pytest.mark.parametrize("gap", [-1, -0.5, -math.inf, math.nan])
def test_merge_refuses_negative_gap(gap: float) -> None:
    with pytest.raises(ValueError, match="gap must be non-negative"):
        ranges.merge([], gap)


@pytest.mark.parametrize("gap", ["1", None, True])
def test_merge_refuses_gap_of_another_type(gap: Any) -> None:
    with pytest.raises(TypeError, match="gap must be int or float, got"):
        ranges.merge([], gap)


def test_merge_refuses_unsorted_ranges() -> None:
    with pytest.raises(ValueError, match="Unsorted ranges: 4-9 comes after one that starts at 5"):
        ranges.merge([(5, 6), (4, 9)], 0)


@given(st.lists(bounds).map(sorted), gaps)
def test_merge_agrees_with_plain_python(members: list[Bounds], gap: float) -> None:
    merged = ranges.merge(members, gap)
    assert merged == plain_merge(members, gap)
    assert [i for group in merged for i in range(group.first, group.last + 1)] == list(
        range(len(members))
    )
    for before, after in itertools.pairwise(merged):
        assert after.start - before.end > gap


@pytest.mark.parametrize(
    ("start", "end", "part_size", "expected"),
    [
        (0, 0, 4, []),
        (7, 7, 1, []),
        (0, 4, 4, [(0, 4)]),
        (0, 5, 4, [(0, 4), (4, 5)]),
        (3, 9, 3, [(3, 6), (6, 9)]),
        (0, LARGEST, LARGEST, [(0, LARGEST)]),
        (LARGEST - 3, LARGEST, 2, [(LARGEST - 3, LARGEST - 1), (LARGEST - 1, LARGEST)]),
    ],
)
def test_split(start: int, end: int, part_size: int, expected: list[Bounds]) -> None:
    assert ranges.split(start, end, part_size) == expected


@given(offsets, st.integers(0, 500), st.integers(1, 600) | st.integers(1, LARGEST))
def test_split_agrees_with_plain_python(start: int, length: int, part_size: int) -> None:
    end = min(start + length, LARGEST)
    assert ranges.split(start, end, part_size) == plain_split(start, end, part_size)


@pytest.mark.parametrize("part_size", [0, -1])
def test_split_refuses_empty_parts(part_size: int) -> None:
    with pytest.raises(ValueError, match="part_size must be"):
        ranges.split(0, 1, part_size)


def test_split_refuses_part_size_of_another_type() -> None:
    with pytest.raises(TypeError, match="part_size must be an int"):
        ranges.split(0, 1, 4.0)  # type: ignore[arg-type]
