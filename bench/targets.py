"""What a case must show: a figure of our score, a limit, and whether it is met.

Each target is made by a function named for what it looks at. A figure is None where it cannot be
told, because a peer or a floor did not run.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scores import Score, Table, cpu, wall

SHAPED_RATE = 90e6
"""Bytes a second of a connection of the shaped server."""

About = dict[str, Any]
"""What a run of the benchmark says about itself: machine, versions, the server's shape."""


@dataclass(frozen=True)
class Target:
    """One thing that a case must show.

    Attributes:
        text: the figure's name.
        limit: its bound, above or below.
        at_most: whether it may not be larger; else it may not be smaller.
        figure: of our score.
        places: digits after the point in the report.
    """

    text: str
    limit: float
    at_most: bool
    figure: Callable[[Table, Score, About], float | None]
    places: int = 2

    def met(self, value: float) -> bool:
        """Whether a figure, as it is written in the report, is within the limit."""
        shown = round(value, self.places)
        return shown <= self.limit if self.at_most else shown >= self.limit

    @property
    def bound(self) -> str:
        """Such as "≤ 1.1"."""
        return f"{'≤' if self.at_most else '≥'} {self.limit:g}"


def cpu_of_floor(limit: float) -> Target:
    """CPU by the floor's."""

    def figure(table: Table, score: Score, about: About) -> float | None:
        return score.ratio(table.floor, cpu) if table.floor else None

    return Target("CPU ÷ floor", limit, True, figure)


def time_of_floor(limit: float) -> Target:
    """Elapsed time by the floor's."""

    def figure(table: Table, score: Score, about: About) -> float | None:
        return score.ratio(table.floor, wall) if table.floor else None

    return Target("time ÷ floor", limit, True, figure)


def times_best_peer(limit: float) -> Target:
    """Speed by that of the fastest peer."""

    def figure(table: Table, score: Score, about: About) -> float | None:
        peer = table.best_peer(wall)
        return peer.ratio(score, wall) if peer else None

    return Target("speed ÷ best peer", limit, False, figure)


def times_peer(name: str, limit: float) -> Target:
    """Speed by that of the fastest contender of one library."""

    def figure(table: Table, score: Score, about: About) -> float | None:
        peers = [peer for peer in table.of_peers() if peer.peer == name]
        best = min(peers, key=lambda peer: peer.median(wall), default=None)
        return best.ratio(score, wall) if best else None

    return Target(f"speed ÷ {name}", limit, False, figure)


def extra_megabytes(limit: float) -> Target:
    """Memory beside the destination."""

    def figure(table: Table, score: Score, about: About) -> float | None:
        return score.median(lambda run: run.extra_memory) / 1e6

    return Target("extra MB", limit, True, figure, places=1)


def cost(name: str, limit: float) -> Target:
    """CPU in the case's unit."""

    def figure(table: Table, score: Score, about: About) -> float | None:
        return table.cost(score)

    return Target(name, limit, True, figure)


def share_of_shape(limit: float) -> Target:
    """Bytes a second by what so many connections can have."""

    def figure(table: Table, score: Score, about: About) -> float | None:
        return statistics.median(
            score.work / run.wall / (run.connections * SHAPED_RATE) for run in score.runs
        )

    return Target("rate ÷ 90 MB/s a connection", limit, False, figure)


def share_of_latency(limit: float) -> Target:
    """Requests a second by what so many connections can have, one after the other on each."""

    def figure(table: Table, score: Score, about: About) -> float | None:
        if "shape" not in about:
            return None
        latency: float = about["shape"]["small"]
        return statistics.median(
            run.requests / run.wall / (run.connections / latency) for run in score.runs
        )

    return Target("rate ÷ one in each latency a connection", limit, False, figure)


def part(name: str, text: str, limit: float, scale: float) -> Target:
    """A part of the time, in the unit that ``scale`` makes of seconds."""

    def figure(table: Table, score: Score, about: About) -> float | None:
        return score.parts[name] * scale

    return Target(text, limit, True, figure)


def flat(limit: float) -> Target:
    """How far the cost at any point of the scale is from the middle one."""

    def figure(table: Table, score: Score, about: About) -> float | None:
        costs = [table.cost(each) for each in table.scores if each.runs and each.peer == score.peer]
        middle = statistics.median(costs)
        return max(abs(each / middle - 1) for each in costs) if len(costs) > 1 else None

    return Target("largest deviation from the median cost", limit, True, figure)


def fetched_of_needed(limit: float) -> Target:
    """Bytes received by bytes wanted."""

    def figure(table: Table, score: Score, about: About) -> float | None:
        return score.parts.get("fetched")

    return Target("bytes fetched ÷ needed", limit, True, figure)


RANKS = 4
"""Of the case in which several load together."""


def share_of_alone(figure_name: str, limit: float) -> Target:
    """What several ranks took together, by what one of them takes that is alone.

    Args:
        figure_name: "requests", or "fetched" for bytes.
    """

    def taken(score: Score) -> float | None:
        if figure_name == "requests":
            return score.median(lambda run: run.requests)
        return score.parts.get(figure_name)

    def figure(table: Table, score: Score, about: About) -> float | None:
        apart = table.score("s3reader dcp")
        alone = taken(apart) if apart else None
        together = taken(score)
        return together / (alone / RANKS) if alone and together else None

    return Target(f"{figure_name} ÷ one rank's", limit, True, figure)
