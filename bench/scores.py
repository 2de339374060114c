"""What was measured: runs, scores of contenders, tables of cases. All of it survives JSON.

A ratio is taken within each round and its median reported: what slows the machine down for a
while slows neighbours in a round alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

FLOOR = "floor"
OWN = "s3reader"


@dataclass(frozen=True)
class Run:
    """One run. Times in seconds, memory in bytes.

    Attributes:
        wall, user, system: of the work; CPU of all threads, and of worker processes.
        extra_memory: peak beyond what was there before the client, and beyond the destination.
        minor_faults, context_switches: of the process.
        requests, connections: as the server saw them.
        parts: what makes up `wall`, where that is of interest.
    """

    wall: float
    user: float
    system: float
    extra_memory: int
    minor_faults: int
    context_switches: int
    requests: int
    connections: int
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def cpu(self) -> float:
        """User and system time together."""
        return self.user + self.system


Figure = Callable[[Run], float]


@dataclass
class Score:
    """All runs of one contender in one case, or why there are none.

    Attributes:
        name: for the report.
        peer: the library; `OWN` and `FLOOR` are not peers.
        work: what one run does, in the case's unit.
        contender: which of the contenders runs; "" for a C program.
        point: where on the scale, in a case about growth.
        missing: why there are no runs, or no further ones.
        failed: whether that is an error; a contender that cannot do a case has not failed.
    """

    name: str
    peer: str
    work: int
    contender: str = ""
    point: int = 0
    runs: list[Run] = field(default_factory=list)
    missing: str | None = None
    failed: bool = False
    version: str = ""

    def median(self, figure: Figure) -> float:
        """Of one figure over the rounds."""
        return statistics.median(figure(run) for run in self.runs)

    def ratio(self, other: Score, figure: Figure) -> float:
        """Median over the rounds of this one's figure by the other's."""
        pairs = zip(self.runs, other.runs, strict=False)
        return statistics.median(figure(mine) / (figure(its) or 1e-9) for mine, its in pairs)

    @property
    def parts(self) -> dict[str, float]:
        """Medians of what makes up the time."""
        names = self.runs[0].parts if self.runs else ()
        return {name: statistics.median(run.parts[name] for run in self.runs) for name in names}


def wall(run: Run) -> float:
    """Elapsed time."""
    return run.wall


def cpu(run: Run) -> float:
    """CPU time."""
    return run.cpu


@dataclass(frozen=True)
class Unit:
    """What work is counted in, and how speed and cost are written.

    Attributes:
        speed, cost: names of the columns.
        speed_scale: work a second is divided by it.
        cost_scale: CPU seconds for one of the work are multiplied by it.
    """

    speed: str
    cost: str
    speed_scale: float
    cost_scale: float


UNITS = {
    "bytes": Unit("GB/s", "CPU s/GB", 1e9, 1e9),
    "requests": Unit("requests/s", "CPU µs/request", 1, 1e6),
    "reads": Unit("million/s", "CPU µs/read", 1e6, 1e6),
    "ranges": Unit("ranges/s", "CPU µs/range", 1, 1e6),
    "objects": Unit("objects/s", "CPU µs/object", 1, 1e6),
    "starts": Unit("starts/s", "CPU ms/start", 1, 1e3),
    "tensors": Unit("tensors/s", "CPU µs/tensor", 1, 1e6),
}


@dataclass
class Table:
    """A case with its scores, by the case's name."""

    case: str
    unit: Unit
    scores: list[Score]

    @property
    def floor(self) -> Score | None:
        """What the others are compared with, if it ran."""
        return next((score for score in self.scores if score.peer == FLOOR and score.runs), None)

    def score(self, name: str) -> Score | None:
        """That contender's, if it ran."""
        found = (score for score in self.scores if score.name == name and score.runs)
        return next(found, None)

    def of_peers(self) -> Sequence[Score]:
        """Those that ran and are neither ours nor a floor."""
        return [score for score in self.scores if score.peer not in (FLOOR, OWN) and score.runs]

    def best_peer(self, figure: Figure) -> Score | None:
        """The peer with the smallest median."""
        return min(self.of_peers(), key=lambda score: score.median(figure), default=None)

    def speed(self, score: Score) -> float:
        """In the unit's scale."""
        return score.work / score.median(wall) / self.unit.speed_scale

    def cost(self, score: Score) -> float:
        """CPU in the unit's scale."""
        return score.median(cpu) / score.work * self.unit.cost_scale
