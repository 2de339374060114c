"""Random use of one reader, which ``io.BytesIO`` over the same bytes must agree with.

`Reading` is the state machine; a test says in `open` which reader and which source it is about.
"""

from __future__ import annotations

import array
import io
import mmap
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sources import Interrupted

SIZES = st.one_of(st.integers(0, 40), st.integers(0, 5000))


def mapped(size: int) -> Any:
    return mmap.mmap(-1, max(size, 1))


TARGETS: list[Callable[[int], Any]] = [
    bytearray,
    lambda size: memoryview(bytearray(size)),
    lambda size: memoryview(bytearray(size + 3))[1 : size + 1],
    lambda size: array.array("d", bytes(size // 8 * 8)),
    lambda size: np.zeros(size // 2, np.float16),
    lambda size: np.zeros((size // 24, 3), "<i8"),
    lambda size: np.zeros((2, size // 8, 2, 1), "u2"),
    lambda size: np.zeros((size // 16, 0, 4), "f4"),
    lambda size: np.zeros(size // 6, [("a", "u2"), ("b", ">u4")]),
    lambda size: np.zeros(size // 8, "M8[ns]"),
    lambda size: np.array(0, "u4"),
    lambda size: np.zeros(size // 16, np.complex128)[2:],
    lambda size: torch.zeros(size // 16, 4).numpy(),
    mapped,
]


SCALE = pytest.MonkeyPatch()


def scale_down() -> None:
    """Make the readers' thresholds fit objects of a few thousand bytes."""
    SCALE.setattr("s3reader.sequential._REACH", 500)
    SCALE.setattr("s3reader.sequential._DIRECT_SIZE", 300)
    SCALE.setattr("s3reader.sequential._LARGEST_TAIL", 900)
    SCALE.setattr("s3reader.sequential.FOOTER_SIZE", 400)
    SCALE.setattr("s3reader.ranged.FOOTER_SIZE", 400)
    SCALE.setattr("s3reader.ranged._LOOKAHEAD_SIZE", 50)


class Reading(RuleBasedStateMachine):
    """One reader over one object, and what it must do; subclasses say which reader and source."""

    def open(self, data: bytes, chunk_size: int) -> tuple[Any, Any]:
        raise NotImplementedError

    @initialize(
        data=st.one_of(
            st.binary(max_size=40),
            st.builds(
                lambda seed, size: np.random.default_rng(seed).bytes(size),
                st.integers(0, 99),
                st.integers(0, 6000),
            ),
            st.lists(st.sampled_from([b"a", b"\n", b"line\n", b"x" * 700]), max_size=60).map(
                b"".join
            ),
        ),
        chunk_size=st.sampled_from([1, 7, 100, 1000, 10000]),
    )
    def begin(self, data: bytes, chunk_size: int) -> None:
        self.data = data
        self.position = 0
        self.reader, self.source = self.open(data, chunk_size)

    def teardown(self) -> None:
        if hasattr(self, "reader"):
            self.reader.close()
        SCALE.undo()

    def reached(self, position: int) -> None:
        size = getattr(self.source, "size", len(self.data))
        self.position = position if size is None else min(position, size)

    def rest(self, size: int | None = None) -> bytes:
        stop = None if size is None or size < 0 else self.position + size
        return self.data[self.position : stop]

    def taken(self, got: bytes) -> None:
        self.reached(self.position + len(got))

    @rule(size=st.one_of(st.none(), st.integers(-2, -1), SIZES))
    def read(self, size: int | None) -> None:
        expected = self.rest(size)
        got = self.reader.read(size)
        assert type(got) is bytes
        assert got == expected
        self.taken(got)

    @rule(size=SIZES)
    def read_one(self, size: int) -> None:
        expected = self.rest(size)
        got = self.reader.read1(size)
        assert expected.startswith(got)
        assert bool(got) == bool(expected)
        self.taken(got)

    @rule(size=SIZES)
    def peek(self, size: int) -> None:
        expected = self.rest()
        got = self.reader.peek(size)  # type: ignore[attr-defined]
        assert expected.startswith(got)
        assert bool(got) == bool(expected)
        self.taken(b"")

    @rule(make=st.sampled_from(TARGETS), size=SIZES, once=st.booleans())
    def read_into(self, make: Callable[[int], Any], size: int, once: bool) -> None:
        target = make(size)
        nbytes = memoryview(target).nbytes if not isinstance(target, np.ndarray) else target.nbytes
        expected = self.rest(nbytes)
        count = (self.reader.readinto1 if once else self.reader.readinto)(target)
        got = target.tobytes() if hasattr(target, "tobytes") else bytes(target)
        if once:
            assert bool(count) == bool(expected)
            assert count <= len(expected)
        else:
            assert count == len(expected)
        assert got[:count] == expected[:count]
        self.taken(expected[:count])

    @rule(size=st.one_of(st.none(), st.integers(-1, 50)))
    def read_line(self, size: int | None) -> None:
        expected = io.BytesIO(self.rest()).readline(size)
        assert self.reader.readline(size) == expected
        self.taken(expected)

    @rule(hint=st.integers(0, 500))
    def read_lines(self, hint: int) -> None:
        expected = io.BytesIO(self.rest()).readlines(hint)
        assert self.reader.readlines(hint) == expected
        self.taken(b"".join(expected))

    @rule()
    def next_line(self) -> None:
        expected = io.BytesIO(self.rest()).readline()
        assert next(iter(self.reader), b"") == expected
        self.taken(expected)

    @rule(offset=st.one_of(SIZES, st.just(10**15)))
    def seek(self, offset: int) -> None:
        self.reached(offset)
        assert self.reader.seek(np.int64(offset)) == self.position

    @rule(offset=st.integers(-3000, 3000))
    def seek_relative(self, offset: int) -> None:
        if self.position + offset < 0:
            with pytest.raises(ValueError, match=f"negative seek value {self.position + offset}"):
                self.reader.seek(offset, io.SEEK_CUR)
        else:
            self.reached(self.position + offset)
            assert self.reader.seek(offset, io.SEEK_CUR) == self.position

    @rule(offset=st.one_of(st.integers(-3000, 0), st.integers(-10, 10)))
    def seek_from_end(self, offset: int) -> None:
        size = len(self.data)
        if size + offset < 0:
            with pytest.raises(ValueError, match="negative seek value"):
                self.reader.seek(offset, io.SEEK_END)
            self.reached(self.position)
        else:
            self.position = min(size + offset, size)
            assert self.reader.seek(offset, io.SEEK_END) == self.position

    @rule(
        wrong=st.sampled_from(
            [b"bytes", memoryview(b"x"), np.zeros((4, 4))[:, ::2], np.zeros((3, 4)).T, "text", None]
        )
    )
    def refused_buffer_moves_nothing(self, wrong: Any) -> None:
        with pytest.raises(TypeError, match=type(wrong).__name__):
            self.reader.readinto(wrong)

    @rule()
    def pickled(self) -> None:
        again = pickle.loads(pickle.dumps(self.reader))
        assert again.tell() == self.position
        assert again.read() == self.rest()
        again.close()

    @precondition(lambda self: self.data)
    @rule(where=st.floats(0, 1), size=st.sampled_from([None, 10, 4000]), into=st.booleans())
    def failed_read_moves_nothing(self, where: float, size: int | None, into: bool) -> None:
        self.source.fail_at = int(where * (len(self.data) - 1))
        expected = self.rest(size)
        try:
            if into:
                target = bytearray(4000 if size is None else size)
                expected = self.rest(len(target))
                assert self.reader.readinto(target) == len(expected)
                assert target[: len(expected)] == expected
            else:
                assert self.reader.read(size) == expected
        except Interrupted:
            self.taken(b"")
        else:
            self.taken(expected)
        self.source.fail_at = None

    @invariant()
    def stands_where_it_should(self) -> None:
        if hasattr(self, "reader"):
            assert self.reader.tell() == self.position
            assert self.source.infos <= 1
            assert not self.reader.closed
