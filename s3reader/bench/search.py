"""The search: which candidates are tried, and which again, in turn, until the time is over.

First each setting by itself: connections from the default upwards until they gain nothing, then
part sizes, then the readers. What a network gives changes from minute to minute, so one trial of
each says little. The best few then come again and again, in turn, always together with the
defaults: what a minute does to one of them it does to all.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from statistics import median

from .candidates import (
    DEFAULT_CONNECTIONS,
    LARGE_READERS,
    MOST_CONNECTIONS,
    PART_SIZES,
    SMALL_READERS,
    Candidate,
)
from .trial import Outcome

GAIN = 1.05
"""What one trial must be faster than another to be taken for faster, while exploring."""

RIVALS = 1
"""Settings beside the best and the default that come again."""

ROUNDS = 8
"""After so many rounds of all who come again, more would tell nothing new."""

PLANNED_ROUNDS = 6
"""Rounds that the time is divided for: one more than are needed to be certain."""

EXPLORING = 0.35
"""Of the time, at most, in about so many trials:"""
EXPLORED = 12

SHORTEST, LONGEST = 0.3, 3.0
"""Seconds of a trial."""

Trial = Callable[[Candidate, float, int], Outcome]
"""Lets a candidate work for so many seconds, or until it has fetched so many bytes."""


class Search:
    """A search among large objects, or among small ones.

    Args:
        small: whether the objects are small: rates are then objects a second.
        trial: measures a candidate.
        largest: bytes of the largest object.
        most_bytes: to fetch in all.
        readers: objects that are read at a time.
        clock: seconds.

    Attributes:
        outcomes: of each candidate that was tried, in the order of the first time.
        rounds: of those that came again, what each round gave them.
        out_of_bytes: whether it ended because as many were fetched as may be.
        spent: bytes that were fetched.
    """

    def __init__(
        self,
        small: bool,
        trial: Trial,
        largest: int,
        most_bytes: int,
        readers: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.small = small
        self.outcomes: dict[Candidate, list[Outcome]] = {}
        self.rounds: list[dict[Candidate, Outcome]] = []
        self.out_of_bytes = False
        self.spent = 0
        self._trial = trial
        self._clock = clock
        self.readers = readers
        self._largest = largest
        self._most_bytes = most_bytes
        self._until = 0.0
        self._length = 0.0  # seconds of a trial, as asked for
        self._besides = 0.0  # seconds that the last one took more: connections, threads

    @property
    def default(self) -> Candidate:
        """The reader that settings are tried with, with the default ones."""
        return Candidate("read_many" if self.small else "ranged")

    def rate(self, candidate: Candidate) -> float:
        """The median of a candidate's rates: bytes, or small objects, a second; 0 if untried."""
        outcomes = self.outcomes.get(candidate)
        return median(map(self.rate_of, outcomes)) if outcomes else 0.0

    def rate_of(self, outcome: Outcome) -> float:
        return outcome.objects_rate if self.small else outcome.rate

    def run(self, seconds: float) -> None:
        """Explore, then repeat the best, for so long; ends early when the bytes are spent."""
        self._until = self._clock() + seconds
        self._length = bounded(EXPLORING * seconds / EXPLORED)
        self._explore()
        self._repeat()

    def settings_tried(self) -> list[Candidate]:
        """Candidates that differ from the default in settings only, the fastest first."""
        tried = [each for each in self.outcomes if each.reader == self.default.reader]
        return sorted(tried, key=self.rate, reverse=True)

    def _explore(self) -> None:
        best = self._explore_connections()
        if not self.small:
            for size in PART_SIZES:
                if 2 * size <= self._largest:
                    self._try(dataclasses.replace(best, part_size=size))
            best = self.settings_tried()[0]
        for reader in self._other_readers():
            self._try(dataclasses.replace(best, reader=reader))

    def _explore_connections(self) -> Candidate:
        self._try(self.default)
        best = self.default
        for connections in doubled(DEFAULT_CONNECTIONS):
            more = dataclasses.replace(self.default, connections=connections)
            self._try(more)
            if self.rate(more) < GAIN * self.rate(best):
                break
            best = more
        if best == self.default:
            for connections in (DEFAULT_CONNECTIONS // 2, DEFAULT_CONNECTIONS // 4):
                fewer = dataclasses.replace(self.default, connections=connections)
                self._try(fewer)
                if self.rate(fewer) * GAIN < self.rate(best):
                    break
        return best

    def _repeat(self) -> None:
        fastest, *others = self.settings_tried()
        near = [each for each in others if self.rate(each) * GAIN**3 > self.rate(fastest)]
        again = dict.fromkeys([self.default, fastest, *near[:RIVALS]])
        again.update(
            dict.fromkeys(dataclasses.replace(fastest, reader=r) for r in self._other_readers())
        )
        trials = PLANNED_ROUNDS * len(again)
        time_left = self._until - self._clock()
        rate = median(each.rate for each in self.outcomes[fastest]) or 1.0
        bytes_last = (self._most_bytes - self.spent) / rate
        self._length = bounded(min(time_left / trials - self._besides, bytes_last / trials))
        for _ in range(ROUNDS):
            outcomes = {}
            for candidate in again:
                outcome = self._try(candidate)
                if outcome is None:
                    return
                outcomes[candidate] = outcome
            self.rounds.append(outcomes)

    def _other_readers(self) -> Iterable[str]:
        readers = SMALL_READERS if self.small else LARGE_READERS
        return [reader for reader in readers if reader != self.default.reader]

    def _try(self, candidate: Candidate) -> Outcome | None:
        """Measure once more, if there is time; the default is measured in any case."""
        began = self._clock()
        if self.outcomes and began + self._length + self._besides > self._until:
            return None
        if self.spent >= self._most_bytes:
            self.out_of_bytes = True
            return None
        outcome = self._trial(candidate, self._length, self._most_bytes - self.spent)
        self.spent += outcome.spent
        self._besides = max(0.0, self._clock() - began - self._length)
        self.outcomes.setdefault(candidate, []).append(outcome)
        return outcome


def bounded(seconds: float) -> float:
    """A trial's time, neither too short to tell nor longer than it helps."""
    return min(LONGEST, max(SHORTEST, seconds))


def doubled(connections: int) -> Iterator[int]:
    """Twice as many, four times as many …"""
    while (connections := 2 * connections) <= MOST_CONNECTIONS:
        yield connections
