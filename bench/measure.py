"""Runs: each in a fresh process, contenders in turn, round after round."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from backing import back_free_memory
from case import Case
from cases import READ_SIZE
from checkpoint_cases import CHECKPOINT_CONTENDERS, TOGETHER_CONTENDERS
from checkpoint_trial import CheckpointSetting
from contenders import BY_NAME, Contender, Place, can
from environments import EnvironmentMissing, interpreter
from floors import FloorMissing, Floors
from growth import work_at
from objects import BUCKET, GIB, MEDIUM_SIZE, MIB, Sizes
from scores import FLOOR, OWN, Run, Score
from serving import TLS, Nginx
from trial import Setting
from works import EPOCHS

TRIAL = Path(__file__).with_name("trial.py")
COLD = Path(__file__).with_name("cold.py")
CHECKPOINT_TRIAL = Path(__file__).with_name("checkpoint_trial.py")
_TIMEOUT = 300.0  # seconds one run may take

_NO_FILE = f"{os.devnull}/none"  # an empty file would be read all the same

ENVIRONMENT = {
    # Everyone signs with the same key; nothing looks for others.
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": _NO_FILE,
    "AWS_SHARED_CREDENTIALS_FILE": _NO_FILE,
    # A trial finds its neighbours by its own place, in the environments of the tests too.
    "PYTHONSAFEPATH": "",
    # What a peer warns of on every run belongs to nobody's result.
    "PYTHONWARNINGS": "ignore",
}


@dataclass(frozen=True)
class Bench:
    """What the runs need: servers by kind, the objects, the compiled floors."""

    servers: Mapping[str, Nginx]
    floors: Floors
    root: Path
    source: Path
    sizes: Sizes

    def work(self, case: Case, point: int = 0) -> int:
        """How much one run does, in the case's unit."""
        sizes = self.sizes
        if case.alone:
            return work_at(case, sizes, point)
        return {
            "load_torch": sizes.saved,
            "load_numpy": sizes.saved,
            "pread": sizes.read_count,
            "ranges": sizes.range_count,
            "many": sizes.small_count,
            "small": sizes.small_count,
            "dataset": sizes.small_count * EPOCHS,
            "buffered": MEDIUM_SIZE // READ_SIZE,
            "cold": 1,
        }.get(case.work, sizes.large)

    def place(self, case: Case) -> Place:
        """Where the contenders of a case find the objects."""
        server = self.servers[case.server]
        return Place(server.endpoint, BUCKET, str(self.root), server.authority)


def roster(bench: Bench, case: Case, contenders: Sequence[type[Contender]]) -> list[Score]:
    """Who takes part; those who cannot are listed with the reason."""
    if case.checkpoint:
        return _checkpoint_roster(case, {contender.peer for contender in contenders})
    if case.points:
        return [
            Score(point_name(case, point), OWN, bench.work(case, point), OWN, point)
            for point in case.points(bench.sizes)
        ]
    work = bench.work(case)
    scores = [Score(floor.name, FLOOR, work) for floor in case.floors]
    for contender in contenders:
        takes_part = case.work == "signing" or can(contender, case.method)
        if contender.peer == FLOOR and not takes_part:
            continue
        if case.alone and contender.name != OWN:
            continue
        if contender.peer == OWN and not takes_part:
            continue
        score = Score(contender.name, contender.peer, work, contender.name)
        if not takes_part:
            score.missing = contender.cannot.get(case.method, "cannot do this")
        elif case.server == TLS and TLS in contender.cannot:
            score.missing = contender.cannot[TLS]
        scores.append(score)
    return scores


def _checkpoint_roster(case: Case, peers: Collection[str]) -> list[Score]:
    among = TOGETHER_CONTENDERS if case.detail else CHECKPOINT_CONTENDERS
    # How many bytes that is, is known when they were loaded.
    return [
        Score(name, peer, 0, contender)
        for name, (peer, contender) in among.items()
        if peer in peers
    ]


def point_name(case: Case, point: int) -> str:
    """Such as "8 GiB" or "256 connections"."""
    if case.work == "grow_size":
        return f"{point // MIB} MiB" if point < GIB else f"{point // GIB} GiB"
    noun = "request" if case.work == "grow_requests" else "connection"
    return f"{point:,} {noun}{'' if point == 1 else 's'}".replace(",", " ")


def run_round(bench: Bench, case: Case, scores: Sequence[Score], number: int) -> None:
    """Add one run to every score. Each round begins with another contender."""
    if not scores:
        return
    shift = number % len(scores)
    for score in [*scores[shift:], *scores[:shift]]:
        if score.missing is None:
            add_run(bench, case, score)


def add_run(bench: Bench, case: Case, score: Score) -> None:
    """Run one contender once; what went wrong is noted in the score."""
    server = bench.servers[case.server]
    position = server.log_position()
    if not score.contender:  # a floor in C; others do it themselves, when they have begun
        back_free_memory(case, bench.sizes)
    try:
        done = subprocess.run(
            _command(bench, case, score),
            env=os.environ | ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        score.missing, score.failed = f"did not end within {_TIMEOUT:.0f} s", True
        return
    except (EnvironmentMissing, FloorMissing) as error:
        score.missing = str(error)
        return
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        if "ModuleNotFoundError" in last:
            score.missing = f"not installed: {last.rpartition(' ')[2]}"
        else:
            score.missing, score.failed = last[:200], True
        return
    figures = json.loads(done.stdout.splitlines()[-1])
    score.version = figures.pop("version", "")
    score.work = figures.pop("work", score.work)
    score.runs.append(Run(**figures, **asdict(server.traffic_since(position))))


def _command(bench: Bench, case: Case, score: Score) -> list[str]:
    place = bench.place(case)
    if case.checkpoint:
        wanted = CheckpointSetting(
            score.contender,
            str(bench.root),
            place.endpoint,
            case.checkpoint,
            bench.sizes.checkpoint_scale,
            bool(case.detail),
            str(bench.root.parent),
        )
        return [sys.executable, str(CHECKPOINT_TRIAL), wanted.as_json()]
    for floor in case.floors:
        if score.name == floor.name:
            return bench.floors.command(
                floor, bench.sizes, bench.source, place.endpoint, tls=case.server == TLS
            )
    setting = Setting(
        case.name, score.contender, place, bench.sizes, str(bench.source), score.point
    )
    contender = BY_NAME[score.contender]
    python = interpreter(contender.environment)
    if case.work == "cold":
        return [python, str(COLD), contender.module, setting.as_json()]
    return [python, str(TRIAL), setting.as_json()]
