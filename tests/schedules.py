"""Schedules: random use of a reader while what it reads from is broken at random.

`Schedule` is the state machine, over a server behind a `FaultProxy`. Each step gives the bytes that
``io.BytesIO`` over the same object would, or a typed `S3Exception` with the position unchanged,
within a bounded time. At the end all faults are lifted, and the reader must give the rest. A
buffer whose filling failed is poisoned and must stay so.
"""

from __future__ import annotations

import io
import pickle
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from reading import SCALE, scale_down
from schedule_plans import REPLIES, plans
from servers.fault_proxy import Fault, FaultProxy
from servers.faults import PART, FaultyObject, pattern
from servers.scripted import Request

from s3reader import ItemRange, S3Client, S3Exception
from s3reader.dcp_optimized import DCPOptimizedS3Reader

STEP_LIMIT = 20.0
"""Seconds that one call may take, on a machine that is busy: `retry_timeout` and some timeouts."""

POISON = 0xEE
SIZES = (0, 1, 700, PART, 3 * PART + 100, 10 * PART + 1)
LARGER = SIZES[-2:] * 4  # drawn more often: what has several parts
STEPS = 12  # operations and changes of plan in one schedule

PICKS = st.tuples(st.integers(0, 11 * PART), st.integers(0, 3 * PART))

T = TypeVar("T")


@dataclass
class Backend:
    """A server behind a proxy. ``spoiled`` is the script that replies can be spoiled in, if any."""

    client: S3Client
    proxy: FaultProxy
    bucket: str
    put: Callable[[str, bytes], object]
    spoiled: FaultyObject | None = None

    def store(self) -> None:
        """Put one object of each size."""
        for size in SIZES:
            self.put(f"size/{size}", pattern(size))


@dataclass
class Tally:
    """What happened in all the schedules of a run."""

    schedules: int = 0
    calls: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.schedules} schedules, {self.calls} calls, slowest {self.slowest:.2f} s, "
            f"errors {dict(self.errors.most_common())}"
        )


class Schedule(RuleBasedStateMachine):
    """Subclasses say what is read, and how."""

    backend: Backend
    tally: Tally
    constructor: Any = None
    seeks_from_end = True

    def make_reader(self) -> Any:
        return self.backend.client.get_object(
            self.backend.bucket, self.key, reader_constructor=self.constructor
        )

    @initialize(size=st.sampled_from(SIZES + LARGER), faults=plans())
    def begin(self, size: int, faults: list[Fault]) -> None:
        scale_down()
        self.tally.schedules += 1
        self.key = f"size/{size}"
        self.data = pattern(size)
        if self.backend.spoiled is not None:
            self.backend.spoiled.replace(self.data, f'"{size:032x}"')
        self.abandoned: list[bytearray] = []
        self.position = 0
        self.reader = self.make_reader()
        self.spoil(faults)

    def teardown(self) -> None:
        if not hasattr(self, "reader"):
            return
        try:
            self.read(-1)
            self.heal()
            # What was asked for ahead may have failed before the faults were lifted.
            self.attempt(lambda: self.reader.read(1 if self.rest(1) else 0), len)
            rest = self.rest()
            assert self.reader.read(len(rest)) == rest, "no use after its faults"
            for buffer in self.abandoned:
                assert buffer.count(POISON) == len(buffer), "written after the call had failed"
        finally:
            self.reader.close()
            SCALE.undo()

    def rest(self, size: int | None = None) -> bytes:
        """What a read of ``size`` bytes gives."""
        stop = None if size is None or size < 0 else self.position + size
        return self.data[self.position : stop]

    def reached(self, position: int) -> None:
        size = self.reader._get_stream.size
        self.position = position if size is None else min(position, size)
        assert self.reader.tell() == self.position

    def stays(self) -> None:
        """After a failure: where it was, or at the end that an answer told before it broke."""
        before = self.position
        self.position = self.reader.tell()
        assert self.position in (before, min(before, len(self.data)))

    def attempt(self, call: Callable[[], T], moved: Callable[[T], int]) -> bool:
        """Whether it succeeded; a failure must be typed and move nothing, and neither may last."""
        self.tally.calls += 1
        began = time.monotonic()
        try:
            result = call()
        except S3Exception as error:
            self.tally.errors[type(error).__name__] += 1
            self.stays()
            return False
        else:
            self.reached(self.position + moved(result))
            return True
        finally:
            took = time.monotonic() - began
            self.tally.slowest = max(took, self.tally.slowest)
            assert took < STEP_LIMIT

    @rule(faults=plans())
    def spoil(self, faults: list[Fault]) -> None:
        self.backend.proxy.plan(*faults)

    @precondition(lambda self: self.backend.spoiled is not None)
    @rule(
        what=st.sampled_from(sorted(set(REPLIES) - {"silence"}) * 3 + ["silence"]),
        times=st.sampled_from([1, 1, 1, 2, 5]),
        after=st.integers(0, 2),
    )
    def spoil_replies(self, what: str, times: int, after: int) -> None:
        script = self.backend.spoiled
        assert script is not None
        passed = iter(range(after))

        def late(request: Request) -> bool:
            return next(passed, None) is None

        script.go_wrong(REPLIES[what], times, late)

    @rule()
    def heal(self) -> None:
        self.backend.proxy.plan()
        if self.backend.spoiled is not None:
            self.backend.spoiled.go_wrong(None)

    @rule(size=st.one_of(st.integers(0, 500), st.integers(0, 11 * PART), st.just(-1)))
    def read(self, size: int) -> None:
        expected = self.rest(size)

        def check(got: bytes) -> int:
            assert got == expected
            return len(got)

        self.attempt(lambda: self.reader.read(size), check)

    @rule(size=st.integers(1, 2 * PART))
    def read_one(self, size: int) -> None:
        expected = self.rest(size)

        def check(got: bytes) -> int:
            assert expected.startswith(got)
            assert bool(got) == bool(expected)
            return len(got)

        self.attempt(lambda: self.reader.read1(size), check)

    @rule(size=st.one_of(st.integers(0, 500), st.integers(0, 11 * PART)))
    def read_into(self, size: int) -> None:
        expected = self.rest(size)
        buffer = bytearray([POISON]) * size

        def check(count: int) -> int:
            assert count == len(expected)
            assert buffer[:count] == expected
            assert buffer.count(POISON, count) == size - count
            return count

        if not self.attempt(lambda: self.reader.readinto(buffer), check):
            buffer[:] = bytes([POISON]) * size
            self.abandoned.append(buffer)

    def ranges_of(self, picks: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Starts and lengths that the reader may be asked for, out of any numbers."""
        starts = [(min(start, len(self.data)), length) for start, length in picks]
        return [(start, min(length, len(self.data) - start)) for start, length in starts]

    @rule(
        picks=st.lists(st.tuples(st.integers(0, 11 * PART), st.integers(0, 3 * PART)), max_size=6)
    )
    def read_ranges(self, picks: list[tuple[int, int]]) -> None:
        wanted = [(at, bytearray([POISON]) * length) for at, length in self.ranges_of(picks)]

        def check(count: int) -> int:
            for at, buffer in wanted:
                assert buffer == self.data[at : at + len(buffer)]
            return 0

        if not self.attempt(lambda: self.reader.readinto_ranges(wanted), check):
            for _, buffer in wanted:
                buffer[:] = bytes([POISON]) * len(buffer)
                self.abandoned.append(buffer)

    @rule(count=st.integers(1, 4))
    def read_many(self, count: int) -> None:
        """By the client that the reader shares."""
        keys = [self.key] * count

        def read_all() -> list[bytes]:
            many = self.backend.client.read_many(self.backend.bucket, keys)
            return [bytes(each.data) for each in many]

        def check(got: list[bytes]) -> int:
            assert got == [self.data] * count
            return 0

        self.attempt(read_all, check)

    @rule(offset=st.integers(0, 11 * PART))
    def seek(self, offset: int) -> None:
        self.reached_by_seek(offset, lambda: self.reader.seek(np.int64(offset)))

    @precondition(lambda self: self.seeks_from_end)
    @rule(back=st.integers(0, 3 * PART))
    def seek_from_end(self, back: int) -> None:
        if back <= len(self.data):
            target = len(self.data) - back
            self.reached_by_seek(target, lambda: self.reader.seek(-back, io.SEEK_END))

    def reached_by_seek(self, target: int, call: Callable[[], int]) -> None:
        def check(reached: int) -> int:
            size = self.reader._get_stream.size
            assert reached == (target if size is None else min(target, size))
            return reached - self.position

        self.attempt(call, check)

    @precondition(lambda self: hasattr(self.reader, "prefetch"))
    @rule()
    def prefetch(self) -> None:
        self.attempt(self.reader.prefetch, lambda _: 0)

    @rule()
    def pickled(self) -> None:
        again = pickle.loads(pickle.dumps(self.reader))
        self.reader.close()
        self.reader = again
        self.reached(self.position)

    @rule()
    def closed_and_made_anew(self) -> None:
        self.reader.close()
        self.reader = self.make_reader()
        self.position = 0


class CheckpointSchedule(Schedule):
    """The reader of items: forward from one to the next, freely within each."""

    seeks_from_end = False
    gap: float = 100

    @property
    def items(self) -> list[ItemRange]:
        """The object in pieces of growing size, with a gap before every third."""
        ends = [end for end in (10, 600, 5000, 9000, 12300, 30000) if end < len(self.data)]
        pairs = zip([0, *ends], [*ends, len(self.data)], strict=True)
        gaps = (150 if number % 3 == 2 else 0 for number in range(len(ends) + 1))
        return [
            ItemRange(min(start + gap, end - 1), end)
            for (start, end), gap in zip(pairs, gaps, strict=True)
        ]

    def make_reader(self) -> Any:
        self.item = 0
        return self.backend.client.get_object(
            self.backend.bucket,
            self.key,
            reader_constructor=lambda **kw: DCPOptimizedS3Reader(
                item_ranges=self.items, max_gap_size=self.gap, **kw
            ),
        )

    @initialize(size=st.sampled_from(SIZES[1:] + LARGER), faults=plans())
    def begin(self, size: int, faults: list[Fault]) -> None:
        super().begin(size, faults)

    def rest(self, size: int | None = None) -> bytes:
        end = self.items[self.item].end
        stop = end if size is None or size < 0 else min(end, self.position + size)
        return self.data[self.position : stop]

    def reached(self, position: int) -> None:
        self.position = position
        assert self.reader.tell() == position

    @rule(size=st.one_of(st.integers(0, 500), st.integers(0, 11 * PART)))
    def read(self, size: int) -> None:
        super().read(len(self.rest(size)))

    @rule(size=st.integers(1, 2 * PART))
    def read_one(self, size: int) -> None:
        if self.rest(size):
            super().read_one(len(self.rest(size)))

    @rule(size=st.one_of(st.integers(0, 500), st.integers(0, 11 * PART)))
    def read_into(self, size: int) -> None:
        super().read_into(len(self.rest(size)))

    @rule(offset=st.integers(0, 11 * PART))
    def seek(self, offset: int) -> None:
        """Within the current item."""
        item = self.items[self.item]
        target = min(item.start + offset % (item.end - item.start), item.end - 1)
        assert self.reader.seek(target) == target
        self.reached(target)

    def ranges_of(self, picks: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Within one item each."""
        ranges = []
        for number, length in picks:
            item = self.items[number % len(self.items)]
            start = item.start + number % (item.end - item.start)
            ranges.append((start, min(length, item.end - start)))
        return ranges

    @rule()
    def next_item(self) -> None:
        """Its first byte; it may be read from only once the one before was."""
        at = self.item
        following = self.items[at + 1 : at + 2]
        if not following:
            return
        self.reader.seek(self.items[at].start)
        self.reached(self.items[at].start)
        if not self.attempt(lambda: self.reader.read(1), len):
            return
        self.item, self.position = at + 1, self.reader.seek(following[0].start)
        self.attempt(lambda: self.reader.read(1), len)


def run_schedules(machine: type[Schedule], count: int) -> None:
    """Run ``count`` of them. Nothing is shrunk: with real time in play, a smaller one differs."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=count,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
