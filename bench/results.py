"""Results as JSON: everything that was measured, written after every round and read again."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import Any

from cases import BY_NAME
from scores import OWN, UNITS, Run, Score, Table

FILE = "results.json"


def table_of(case: str, scores: list[Score]) -> Table:
    """A case's table."""
    return Table(case, UNITS[BY_NAME[case].unit], scores)


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


def save(tables: Sequence[Table], about: dict[str, Any], folder: Path) -> None:
    """Write `FILE`; whoever is interrupted finds what there was before, whole."""
    cases = [
        {
            "case": table.case,
            "scores": [asdict(score) | {"medians": _medians(score)} for score in table.scores],
        }
        for table in tables
    ]
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / f"{FILE}.new"
    written.write_text(json.dumps({**about, "cases": cases}, indent=1) + "\n")
    written.replace(folder / FILE)


def _medians(score: Score) -> dict[str, float] | None:
    if not score.runs:
        return None
    names = [name for name in asdict(score.runs[0]) if name != "parts"]
    return {name: score.median(attrgetter(name)) for name in [*names, "cpu"]} | score.parts


def load(path: Path) -> tuple[list[Table], dict[str, Any]]:
    """What `save` wrote."""
    about = json.loads(path.read_text())
    tables = []
    for case in about.pop("cases"):
        scores = []
        for fields in case["scores"]:
            del fields["medians"]
            scores.append(Score(**fields | {"runs": [Run(**run) for run in fields["runs"]]}))
        tables.append(table_of(case["case"], scores))
    return tables, about


def failures(tables: Sequence[Table]) -> list[str]:
    """Contenders that failed or read wrong bytes; those that cannot do a case did not."""
    return [
        f"{table.case}: {score.name}: {score.missing}"
        for table in tables
        for score in table.scores
        if score.failed
    ]


__all__ = ["OWN", "failures", "load", "machine", "save", "table_of", "versions"]
