"""Runs: each in a fresh process, contenders in turn, round after round; medians and ratios.

A ratio is taken within each round and its median reported: what slows the machine down for a
while slows neighbours in a round alike.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cases import Case
from contenders import BY_NAME, Contender, can
from servers import BUCKET, LARGE, MEDIUM_SIZE, SMALL, SMALL_SIZE, Nginx
from trial import READ_SIZE, Setting

FLOOR = "floor"
TRIAL = Path(__file__).with_name("trial.py")
_TIMEOUT = 300.0  # seconds one run may take

_ENVIRONMENT = {
    # Everyone signs with the same key; nothing looks for others.
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


@dataclass(frozen=True)
class Run:
    """One run. Times in seconds, memory in bytes."""

    wall: float
    user: float
    system: float
    extra_memory: int
    minor_faults: int
    context_switches: int
    requests: int
    connections: int

    @property
    def cpu(self) -> float:
        """User and system time of all threads."""
        return self.user + self.system


@dataclass
class Score:
    """All runs of one contender in one case, or why there are none."""

    name: str
    peer: str
    runs: list[Run] = field(default_factory=list)
    missing: str | None = None
    failed: bool = False
    version: str = ""

    def median(self, figure: Callable[[Run], float]) -> float:
        """Of one figure over the rounds."""
        return statistics.median(figure(run) for run in self.runs)

    def ratio(self, other: Score, figure: Callable[[Run], float]) -> float:
        """Median over the rounds of this one's figure by the other's."""
        pairs = zip(self.runs, other.runs, strict=False)
        return statistics.median(figure(mine) / (figure(its) or 1e-9) for mine, its in pairs)


@dataclass(frozen=True)
class Bench:
    """What the runs need: the server, its objects, the compiled floor."""

    server: Nginx
    floor: Path
    source: Path
    size: int
    small_count: int

    def work(self, case: Case) -> int:
        """How much one run does, in the case's unit."""
        return {
            "bytes": self.size,
            "requests": self.small_count,
            "reads": MEDIUM_SIZE // READ_SIZE,
        }[case.unit]


def roster(case: Case, contenders: Sequence[type[Contender]]) -> list[Score]:
    """Who takes part; those who cannot are listed with the reason."""
    scores = [Score(FLOOR, FLOOR)] if case.floor else []
    for contender in contenders:
        if contender.peer == FLOOR and not can(contender, case.method):
            continue
        score = Score(contender.name, contender.peer)
        if not can(contender, case.method):
            score.missing = contender.cannot.get(case.method, "cannot do this")
        scores.append(score)
    return scores


def run_round(bench: Bench, case: Case, scores: Sequence[Score], number: int) -> None:
    """Add one run to every score. Each round begins with another contender."""
    shift = number % len(scores)
    for score in [*scores[shift:], *scores[:shift]]:
        if score.missing is None:
            _add_run(bench, case, score)


def _add_run(bench: Bench, case: Case, score: Score) -> None:
    position = bench.server.log_position()
    try:
        done = subprocess.run(
            _command(bench, case, score),
            env=os.environ | _ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        score.missing, score.failed = f"did not end within {_TIMEOUT:.0f} s", True
        return
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        if "ModuleNotFoundError" in last:
            score.missing = f"not installed: {last.rpartition(' ')[2]}"
        else:
            score.missing, score.failed = last, True
        return
    figures = json.loads(done.stdout.splitlines()[-1])
    score.version = figures.pop("version", "")
    traffic = bench.server.traffic_since(position)
    score.runs.append(Run(**figures, **asdict(traffic)))


def _command(bench: Bench, case: Case, score: Score) -> list[str]:
    if score.name == FLOOR:
        assert case.floor is not None
        if case.unit == "requests":
            count, size, path = bench.small_count, SMALL_SIZE, f"/{BUCKET}/{SMALL}"
        else:
            count, size, path = 1, bench.size, f"/{BUCKET}/{LARGE}"
        numbers = [str(number) for number in (count, size)]
        port = str(bench.server.port)
        return [str(bench.floor), port, str(bench.source), case.floor, *numbers, path]
    setting = Setting(
        case.name,
        BY_NAME[score.name].name,
        bench.server.endpoint,
        BUCKET,
        str(bench.source),
        bench.size,
        bench.small_count,
    )
    return [sys.executable, str(TRIAL), json.dumps(asdict(setting))]
