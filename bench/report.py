"""Results as JSON and as Markdown tables, with ratios to the floor and to the best peer."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from cases import Case
from measure import FLOOR, Run, Score

OWN = "s3reader"


@dataclass
class Table:
    """A case with its scores; ``work`` is what one run does, in the case's unit."""

    case: Case
    work: int
    scores: list[Score]

    @property
    def floor(self) -> Score | None:
        """What the others are compared with, if it ran."""
        return next((score for score in self.scores if score.peer == FLOOR and score.runs), None)

    def best_peer(self, figure: Callable[[Run], float]) -> Score | None:
        """The peer with the smallest median."""
        peers = [score for score in self.scores if score.peer not in (FLOOR, OWN) and score.runs]
        return min(peers, key=lambda score: score.median(figure), default=None)

    def speed(self, score: Score) -> float:
        """In GB/s, requests/s or million reads/s."""
        per_second = self.work / score.median(_wall)
        return per_second / _SCALE[self.case.unit][0]

    def cost(self, score: Score) -> float:
        """CPU in s/GB, µs/request or µs/read."""
        return score.median(_cpu) / self.work * _SCALE[self.case.unit][1]


_SCALE = {"bytes": (1e9, 1e9), "requests": (1, 1e6), "reads": (1e6, 1e6)}
_SPEED_NAME = {"bytes": "GB/s", "requests": "requests/s", "reads": "million/s"}
_COST_NAME = {"bytes": "CPU s/GB", "requests": "CPU µs/request", "reads": "CPU µs/read"}


def _wall(run: Run) -> float:
    return run.wall


def _cpu(run: Run) -> float:
    return run.cpu


def machine() -> dict[str, Any]:
    """What the figures depend on besides the libraries."""
    return {
        "processor": _first_line("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": _first_line("/proc/meminfo", "MemTotal"),
        "kernel": platform.platform(),
        "python": platform.python_version(),
        "transparent_hugepage": _chosen("/sys/kernel/mm/transparent_hugepage/enabled"),
    }


def _first_line(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)


def _chosen(path: str) -> str | None:
    try:
        return Path(path).read_text().partition("[")[2].partition("]")[0]
    except OSError:
        return None


def versions(tables: Sequence[Table]) -> dict[str, str]:
    """Of every library that took part."""
    return {
        score.peer: score.version for table in tables for score in table.scores if score.version
    }


def as_json(tables: Sequence[Table], about: dict[str, Any]) -> str:
    """Everything that was measured."""
    cases = [
        {
            "case": table.case.name,
            "title": table.case.title,
            "unit": table.case.unit,
            "work": table.work,
            "scores": [asdict(score) | {"medians": _medians(score)} for score in table.scores],
        }
        for table in tables
    ]
    return json.dumps({**about, "cases": cases}, indent=1) + "\n"


def _medians(score: Score) -> dict[str, float] | None:
    if not score.runs:
        return None
    names = [*asdict(score.runs[0]), "cpu"]
    return {name: score.median(attrgetter(name)) for name in names}


def as_markdown(tables: Sequence[Table], about: dict[str, Any]) -> str:
    """The tables, with what they were measured on."""
    lines = ["# Benchmark", "", *(f"- {name}: {_plain(value)}" for name, value in about.items())]
    for table in tables:
        lines += ["", f"## {table.case.title}", "", f"{table.case.note}.", "", *_rows(table)]
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {text}" for name, text in value.items())
    return str(value)


def _rows(table: Table) -> list[str]:
    unit = table.case.unit
    titles = [
        "",
        _SPEED_NAME[unit],
        _COST_NAME[unit],
        "CPU ÷ floor",
        "time ÷ floor",
        "CPU ÷ best peer",
        "time ÷ best peer",
        "extra MB",
        "requests",
        "connections",
    ]
    rows = [_row(table, score) for score in table.scores]
    return [_line(titles), _line(["---", *["---:"] * (len(titles) - 1)]), *map(_line, rows)]


def _row(table: Table, score: Score) -> list[str]:
    if not score.runs:
        return [score.name, f"- ({score.missing})", *[""] * 8]
    against = [table.floor, table.floor, table.best_peer(_cpu), table.best_peer(_wall)]
    ratios = [
        "-" if other is None or other is score else f"{score.ratio(other, figure):.2f}"
        for other, figure in zip(against, (_cpu, _wall, _cpu, _wall), strict=True)
    ]
    name = f"**{score.name}**" if score.peer == OWN else score.name
    return [
        name + (f" (failed later: {score.missing})" if score.failed else ""),
        figures(table.speed(score)),
        figures(table.cost(score)),
        *ratios,
        f"{score.median(lambda run: run.extra_memory) / 1e6:.1f}",
        f"{score.median(lambda run: run.requests):.0f}",
        f"{score.median(lambda run: run.connections):.0f}",
    ]


def figures(value: float) -> str:
    """Three significant digits, never an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
