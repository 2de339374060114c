"""The checkpoint reader: what it may read, in which order, and with which requests."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from make_readers import checkpoint
from sources import ForeignSource, Interrupted, MemorySource, Source

from s3reader.dcp_optimized import (
    FALLBACK_GUIDANCE,
    FIND_ITEM_ERROR_PREFIX,
    DCPOptimizedS3Reader,
    ItemRange,
)
from s3reader.errors import IncompleteDataError

DATA = np.random.default_rng(5).bytes(9000)


class Loading(RuleBasedStateMachine):
    """Reads inside the items in order, and refused ones between them."""

    @initialize(
        lengths=st.lists(st.integers(1, 900), min_size=1, max_size=8),
        gaps=st.lists(st.sampled_from([0, 0, 1, 60, 100, 101, 700]), min_size=8, max_size=8),
        chunk_size=st.sampled_from([1, 13, 250, 5000]),
        own=st.booleans(),
    )
    def begin(self, lengths: list[int], gaps: list[int], chunk_size: int, own: bool) -> None:
        self.items = []
        place = 0
        for gap, length in zip(gaps, lengths, strict=False):
            place += gap
            self.items.append((place, place + length))
            place += length
        self.source: Source = (
            MemorySource(DATA, chunk_size)
            if own
            else ForeignSource(DATA, chunk_size, (bytes, bytearray, memoryview, "reused", "empty"))
        )
        self.reader = checkpoint(self.source, *self.items, gap=100)
        self.position = 0
        self.index = 0
        self.entered = False

    def teardown(self) -> None:
        if hasattr(self, "reader"):
            self.reader.close()
            if isinstance(self.source, MemorySource):
                assert self.source.closed == self.source.opened

    def holding(self, start: int, stop: int) -> int | None:
        candidates = range(self.index, self.index + 1 + self.entered)
        for index in candidates:
            if index < len(self.items):
                first, last = self.items[index]
                if first <= start and stop <= last:
                    return index
        return None

    def read(self, size: int, into: bool) -> bytes:
        if not into:
            return self.reader.read(size)
        target = np.zeros(size, "u1")
        assert self.reader.readinto(target) == size
        return target.tobytes()

    @rule(size=st.integers(0, 1000), into=st.booleans())
    def read_anywhere(self, size: int, into: bool) -> None:
        stop = self.position + size
        index = self.holding(self.position, stop)
        if size and index is None:
            with pytest.raises(ValueError, match=FIND_ITEM_ERROR_PREFIX) as refusal:
                self.read(size, into)
            assert str(refusal.value).endswith(FALLBACK_GUIDANCE)
            assert f"{self.position}-{stop}" in str(refusal.value)
            return
        assert self.read(size, into) == DATA[self.position : stop]
        if size:
            self.position, self.entered = stop, True
            self.index = self.index if index is None else index

    @rule(step=st.integers(0, 1), where=st.floats(0, 1), share=st.floats(0, 1), into=st.booleans())
    def read_inside(self, step: int, where: float, share: float, into: bool) -> None:
        index = min(self.index + step * self.entered, len(self.items) - 1)
        start, end = self.items[index]
        self.position = start + int(where * (end - start - 1))
        assert self.reader.seek(self.position) == self.position
        self.read_anywhere(max(int(share * (end - self.position)), 1), into)

    @rule(to_next=st.booleans())
    def read_whole_item(self, to_next: bool) -> None:
        self.read_inside(to_next, 0.0, 1.0, True)

    @rule(offset=st.integers(-500, 500))
    def seek_relative(self, offset: int) -> None:
        target = self.position + offset
        if target < 0:
            with pytest.raises(ValueError, match=f"negative seek value {target}"):
                self.reader.seek(offset, io.SEEK_CUR)
        else:
            assert self.reader.seek(offset, io.SEEK_CUR) == target
            self.position = target

    @rule(size=st.integers(-1, 300))
    def read_line(self, size: int) -> None:
        index = self.holding(self.position, self.position + 1)
        if index is None:
            if size:
                with pytest.raises(ValueError, match=FIND_ITEM_ERROR_PREFIX):
                    self.reader.readline(size)
            return
        rest = DATA[self.position : self.items[index][1]]
        expected = io.BytesIO(rest).readline(size)
        assert self.reader.readline(size) == expected
        if size:
            self.index, self.entered = index, True
            self.position += len(expected)

    @rule(size=st.integers(1, 300), peek=st.booleans())
    def read_one(self, size: int, peek: bool) -> None:
        index = self.holding(self.position, self.position + 1)
        call = self.reader.peek if peek else self.reader.read1
        if index is None:
            with pytest.raises(ValueError, match=FIND_ITEM_ERROR_PREFIX):
                call(size)
            return
        got = call(size)
        assert got
        assert DATA[self.position : self.items[index][1]].startswith(got)
        self.index, self.entered = index, True
        self.position += 0 if peek else len(got)

    @rule()
    def pickled(self) -> None:
        self.reader = pickle.loads(pickle.dumps(self.reader))
        self.source = self.reader._get_stream  # type: ignore[assignment]

    @precondition(lambda self: self.items)
    @rule(where=st.floats(0, 1))
    def failed_read_moves_nothing(self, where: float) -> None:
        start, end = self.items[self.index]
        self.source.fail_at = start + int(where * (end - start - 1))
        self.reader.seek(start)
        self.position = start
        try:
            assert self.reader.read(end - start) == DATA[start:end]
        except Interrupted:
            assert self.reader.tell() == start
            assert self.reader.read(end - start) == DATA[start:end]
        self.source.fail_at = None
        self.position, self.entered = end, True

    @invariant()
    def stands_where_it_should(self) -> None:
        if hasattr(self, "reader"):
            assert self.reader.tell() == self.position
            assert self.source.infos == 0


TestLoading = Loading.TestCase
TestLoading.settings = settings(
    max_examples=150,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(params=[ForeignSource, MemorySource])
def source(request: pytest.FixtureRequest) -> Source:
    made: Source = request.param(DATA, 100)
    return made


def test_constructor_checks_in_the_order_of_the_contract() -> None:
    def build(**changes: Any) -> DCPOptimizedS3Reader:
        source = ForeignSource(DATA)
        arguments = {"bucket": "", "key": "", "item_ranges": [], "max_gap_size": "x"} | changes
        return DCPOptimizedS3Reader(get_object_info=source.info, get_stream=source, **arguments)

    names: dict[str, Any] = {}
    with pytest.raises(ValueError, match=r"^Bucket should be specified$"):
        build(**names)
    names["bucket"] = "b"
    with pytest.raises(ValueError, match=r"^Key should be specified$"):
        build(**names)
    names["key"] = "k"
    with pytest.raises(ValueError, match=r"^item_ranges must be a non-empty List\[ItemRange\] ob"):
        build(**names)
    names["item_ranges"] = [ItemRange(3, 3)]
    with pytest.raises(TypeError, match=r"^max_gap_size must be int or float, got str$"):
        build(**names)
    for negative in (-1, -0.5, float("-inf"), float("nan")):
        with pytest.raises(ValueError, match=r"^max_gap_size must be non-negative$"):
            build(**names, max_gap_size=negative)
    names["max_gap_size"] = 5
    with pytest.raises(ValueError, match=r"^No non-empty ranges to read"):
        build(**names)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ([(5, 3)], "Invalid range: 5-3"),
        ([(-2, 3)], "Invalid range: -2-3"),
        ([(0, 3), (9, 4)], "Invalid range: 9-4"),
        ([(10, 20), (0, 5)], "Unsorted ranges: 10-20 and 0-5"),
        ([(10, 20), (15, 25)], "Overlapping ranges: 10-20 and 15-25"),
        ([(10, 20), (10, 20)], "Overlapping ranges: 10-20 and 10-20"),
    ],
)
def test_impossible_ranges_are_named(bounds: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        checkpoint(ForeignSource(DATA), *bounds)


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        (0, [(0, 20), (21, 30), (60, 70)]),
        (1, [(0, 30), (60, 70)]),
        (29.5, [(0, 30), (60, 70)]),
        (30, [(0, 70)]),
        (float("inf"), [(0, 70)]),
    ],
)
def test_near_items_share_a_stream(
    source: Source, gap: float, expected: list[tuple[int, int]]
) -> None:
    items = [(0, 10), (10, 20), (21, 30), (60, 70)]
    reader = checkpoint(source, *items, gap=gap)
    assert source.requests == []
    for start, end in items:
        reader.seek(start)
        assert reader.read(end - start) == DATA[start:end]
    assert source.requests == expected
    assert source.infos == 0


def test_next_groups_are_fetched_ahead() -> None:
    source = MemorySource(DATA)
    reader = checkpoint(source, *((start, start + 10) for start in range(0, 4000, 100)), gap=0)
    reader.read(1)
    assert source.requests == [(start, start + 10) for start in range(0, 1700, 100)]
    reader.close()
    assert source.closed == source.opened == 17


def test_group_ahead_waits_while_enough_is_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s3reader.dcp_optimized._AHEAD_SIZE", 100)
    source = MemorySource(DATA, 50)
    reader = checkpoint(source, (0, 1000), (1100, 1200), (1300, 1400), gap=0)
    reader.seek(0)
    reader._open(0)
    assert source.requests == [(0, 1000)]
    reader.read(1000)
    assert source.requests == [(0, 1000), (1100, 1200)]


def test_first_item_comes_first(source: Source) -> None:
    reader = checkpoint(source, (0, 10), (10, 20))
    reader.seek(10)
    with pytest.raises(ValueError, match="not contained in current item 0-10"):
        reader.read(1)
    reader.seek(0)
    assert reader.read(10) == DATA[:10]


def test_refused_read_consumes_nothing(source: Source) -> None:
    reader = checkpoint(source, (0, 10), (10, 20), (20, 30))
    assert reader.read(3) == DATA[:3]
    reader.seek(20)
    for _ in range(3):
        with pytest.raises(ValueError, match="current item 0-10 nor the next item 10-20"):
            reader.read(5)
    reader.seek(10)
    assert reader.read(10) == DATA[10:20]
    assert reader.read(10) == DATA[20:30]
    with pytest.raises(ValueError, match="current item 20-30, which is the last item"):
        reader.read(1)


@pytest.mark.parametrize("size", [None, -1, -7])
def test_full_read_is_not_supported(source: Source, size: int | None) -> None:
    with pytest.raises(ValueError, match="full read not supported"):
        checkpoint(source, (0, 10)).read(size)


def test_nothing_is_read_anywhere(source: Source) -> None:
    reader = checkpoint(source, (50, 60))
    reader.seek(10**12)
    assert reader.read(0) == b""
    assert reader.readinto(bytearray()) == 0
    assert source.requests == []


@pytest.mark.parametrize("whence", [2, 3, -1, "0", None, 1.0, [], object()])
def test_seek_takes_two_origins_only(source: Source, whence: Any) -> None:
    reader = checkpoint(source, (0, 10))
    reader.seek(4)
    with pytest.raises(ValueError, match=r"^whence must be SEEK_CUR or SEEK_SET integers$"):
        reader.seek(1, whence)
    with pytest.raises(TypeError, match="integer argument expected, got <class 'float'>"):
        reader.seek(1.0)  # type: ignore[arg-type]
    assert reader.tell() == 4


@pytest.mark.parametrize("own", [False, True])
def test_stream_that_ends_early_is_an_error(own: bool) -> None:
    source: Source = MemorySource(DATA[:150], 100) if own else ForeignSource(DATA[:150], 100)
    reader = checkpoint(source, (0, 100), (120, 200))
    assert reader.read(100) == DATA[:100]
    reader.seek(120)
    with pytest.raises(ValueError, match="S3 stream exhausted at position 150 "):
        reader.read(10)
    assert reader.tell() == 120
    source.data = DATA
    assert reader.read(80) == DATA[120:200]


def test_stream_that_gives_too_much_is_an_error() -> None:
    source = ForeignSource(DATA, 100, surplus=b"!")
    reader = checkpoint(source, (0, 100))
    with pytest.raises(IncompleteDataError, match="expected 100 bytes, received 101"):
        reader.read(100)
    source.surplus = b""
    assert reader.read(100) == DATA[:100]


def test_item_is_let_go_when_the_next_one_starts() -> None:
    reader = checkpoint(MemorySource(DATA, 1000), (0, 4500), (4500, 9000))
    reader.read(4500)
    assert reader._chunks.nbytes == 5000
    reader.read(4500)
    assert reader._chunks.nbytes == 5000
    reader.close()
    assert reader._chunks.nbytes == 0
