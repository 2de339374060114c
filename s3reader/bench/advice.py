"""What follows from the trials: settings to use, and whether they are more than noise.

Two candidates are compared round by round, since within a round the network was the same for
both. One is faster if it was in nearly every round and by enough to notice; else they are equal,
and of equals the defaults are recommended, or what takes the fewest connections.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from s3reader.config import KiB, MiB

from .candidates import Candidate
from .search import Search

NOTICEABLE = 0.03
"""Of a rate: what nobody would change settings for."""

FEWEST_ROUNDS = 5
"""Rounds below which nothing is said with certainty: of two that are equal, one wins five of five
by chance once in 32 times."""

FOR_ONE_LOST = 8
"""Rounds for each of which what is called faster may have lost one."""


@dataclass(frozen=True)
class Advice:
    """What to use for a kind of objects.

    Attributes:
        candidate: the recommended one.
        line: a configuration, ready to paste.
        reason: why, in words and figures.
        sure: whether there were enough rounds to say so.
        notes: what else was seen.
    """

    candidate: Candidate
    line: str
    reason: str
    sure: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Of the rounds in which both took part: the first's `gain` over the second's rate (0.1 is a
    tenth more), in the median, and how many of the `rounds` it won."""

    gain: float
    won: int
    rounds: int

    @property
    def faster(self) -> bool:
        """Whether the first is faster by more than noise."""
        lost = self.rounds - self.won
        certain = self.rounds >= FEWEST_ROUNDS and lost <= self.rounds // FOR_ONE_LOST
        return certain and self.gain > NOTICEABLE


def compare(search: Search, one: Candidate, other: Candidate) -> Comparison:
    """Compare two candidates round by round."""
    gains = [
        search.rate_of(outcomes[one]) / search.rate_of(outcomes[other]) - 1
        for outcomes in search.rounds
        if one in outcomes and other in outcomes and search.rate_of(outcomes[other])
    ]
    won = sum(gain > 0 for gain in gains)
    return Comparison(median(gains) if gains else 0.0, won, len(gains))


def advise(search: Search, given: Mapping[str, Any]) -> Advice:
    """What to use; `given` are settings of the client besides, which the line repeats."""
    default = search.default
    chosen = default
    sure = len(search.rounds) >= FEWEST_ROUNDS
    if not sure:
        option = "--gigabytes" if search.out_of_bytes else "--seconds"
        reason = (
            f"nothing else is certain after {_count(len(search.rounds), 'round')} of trials; "
            f"{FEWEST_ROUNDS} are needed: give more {option}"
        )
    elif (chosen := _choice(search)) == default:
        reason = _why_default(search)
    else:
        found = compare(search, chosen, default)
        reason = (
            f"{rate_text(search, search.rate(chosen))} where the defaults give "
            f"{rate_text(search, search.rate(default))}: {found.gain:+.0%}, faster in {found.won} "
            f"of {found.rounds} rounds"
        )
    return Advice(chosen, config_line({**given, **chosen.settings()}), reason, sure, _notes(search))


def config_line(settings: Mapping[str, Any]) -> str:
    """``S3ClientConfig(...)`` with these settings."""
    texts = (f"{name}={_value(name, value)}" for name, value in settings.items())
    return f"S3ClientConfig({', '.join(texts)})"


def rate_text(search: Search, rate: float) -> str:
    """A rate in the unit of the search."""
    return f"{rate:,.0f} objects/s" if search.small else f"{rate / 1e9:.2f} GB/s"


def _value(name: str, value: Any) -> str:
    if name != "part_size":
        return repr(value)
    return f"{value // MiB} * 1024 * 1024" if value % MiB == 0 else f"{value // KiB} * 1024"


def _repeated(search: Search) -> list[Candidate]:
    """Settings that came again, the fastest first."""
    return [each for each in search.settings_tried() if each in search.rounds[0]]


def _choice(search: Search) -> Candidate:
    """The default unless something is faster; of what is not slower than the fastest, the one with
    the fewest connections."""
    default = search.default
    fastest = _repeated(search)[0]
    if not compare(search, fastest, default).faster:
        return default
    equal = [
        each
        for each in _repeated(search)
        if compare(search, each, default).faster and not compare(search, fastest, each).faster
    ]
    return min(equal, key=lambda each: (each.connections, each.part_size))


def _why_default(search: Search) -> str:
    fastest = _repeated(search)[0]
    if fastest == search.default:
        return f"nothing was faster than the defaults, {rate_text(search, search.rate(fastest))}"
    found = compare(search, fastest, search.default)
    return (
        f"{fastest} had {found.gain:+.0%}, faster in {found.won} of {found.rounds} rounds: "
        "within noise"
    )


def _notes(search: Search) -> tuple[str, ...]:
    notes = []
    outcomes = [each for several in search.outcomes.values() for each in several]
    throttles = sum(each.throttles for each in outcomes)
    if throttles:
        notes.append(
            f"S3 throttled {_count(throttles, 'time')}: more connections would not help, more "
            "prefixes would"
        )
    busy = max(each.cpu / each.seconds for each in outcomes)
    if busy > 0.9:
        notes.append(f"up to {busy:.1f} cores were busy: this machine may be what limits")
    repeated = search.rounds[0] if search.rounds else ()
    readers = [each for each in repeated if each.reader != search.default.reader]
    for each in sorted(readers, key=search.rate, reverse=True):
        same = Candidate(search.default.reader, each.part_size, each.connections)
        found = compare(search, each, same)
        if found.rounds >= FEWEST_ROUNDS:
            faster = compare(search, same, each).faster or found.faster
            notes.append(
                f"{each.reader} against {same.reader}: {found.gain:+.0%}"
                + ("" if faster else ", within noise")
            )
    return tuple(notes)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
