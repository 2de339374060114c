"""Results as Markdown: a table for each case, the targets, and the short table of the README.

python bench/report.py RESULTS.json      the whole report, on standard output
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from case import Case
from cases import BY_NAME
from results import load, versions
from scores import OWN, Score, Table, cpu, wall
from targets import About, Target

NONE = "\N{EN DASH}"
"""Stands where there is no figure."""


_PARTS = {
    "import": ("import, ms", 1e3),
    "client": ("client, ms", 1e3),
    "first byte": ("first byte, ms", 1e3),
    "alone": ("alone, µs", 1e6),
    "shared": ("shared, µs", 1e6),
    "fetched": ("fetched ÷ needed", 1),
}
"""Titles of columns and scales of what works measure besides."""


@dataclass(frozen=True)
class Verdict:
    """A target and what was measured; `value` is None where it could not be told."""

    case: Case
    name: str
    target: Target
    value: float | None

    @property
    def result(self) -> str:
        """In a word."""
        if self.value is None:
            return "not measured"
        return "met" if self.target.met(self.value) else "**missed**"

    @property
    def figure(self) -> str:
        """As the report shows it."""
        return NONE if self.value is None else f"{self.value:.{self.target.places}f}"


def verdicts(tables: Sequence[Table], about: About) -> Iterator[Verdict]:
    """Every target of the cases that ran."""
    for table in tables:
        case = BY_NAME[table.case]
        for name in case.ours:
            score = table.score(name)
            for target in case.targets:
                value = target.figure(table, score, about) if score else None
                yield Verdict(case, name, target, value)


def as_markdown(tables: Sequence[Table], about: About) -> str:
    """Everything."""
    lines = ["# Benchmark", "", *_about(tables, about), "", "## Targets", ""]
    lines += target_rows(tables, about)
    for table in tables:
        case = BY_NAME[table.case]
        lines += ["", f"## {case.title}", "", f"`--case {case.name}`, {case.server} server. "]
        lines[-1] += f"{case.note[:1].upper()}{case.note[1:]}."
        lines += ["", *_rows(table), *_reasons(table)]
    return "\n".join(lines) + "\n"


def _about(tables: Sequence[Table], about: About) -> list[str]:
    known = about | {"versions": about.get("versions", {}) | versions(tables)}
    return [f"- {name}: {_plain(value)}" for name, value in known.items()]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(text)}" for name, text in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def target_rows(tables: Sequence[Table], about: About) -> list[str]:
    """A table of what was to be shown, and whether it was."""
    rows = [["case", "contender", "figure", "target", "measured", ""]]
    for verdict in verdicts(tables, about):
        target = verdict.target
        rows.append(
            [
                verdict.case.name,
                verdict.name,
                target.text,
                target.bound,
                verdict.figure,
                verdict.result,
            ]
        )
    return _table(rows, left=3)


def _rows(table: Table) -> list[str]:
    titles = [
        "",
        table.unit.speed,
        table.unit.cost,
        "CPU ÷ floor",
        "time ÷ floor",
        "CPU ÷ best peer",
        "time ÷ best peer",
        "extra MB",
        "requests",
        "connections",
    ]
    parts = next((list(score.parts) for score in table.scores if score.parts), [])
    titles += [_PARTS[name][0] for name in parts]
    return _table([titles, *(_row(table, score, parts) for score in table.scores)])


def _row(table: Table, score: Score, parts: Sequence[str]) -> list[str]:
    if not score.runs:
        return [score.name, *[NONE] * (9 + len(parts))]
    against = [table.floor, table.floor, table.best_peer(cpu), table.best_peer(wall)]
    ratios = [
        NONE if other is None or other is score else f"{score.ratio(other, figure):.2f}"
        for other, figure in zip(against, (cpu, wall, cpu, wall), strict=True)
    ]
    return [
        f"**{score.name}**" if score.peer == OWN else score.name,
        figures(table.speed(score)),
        figures(table.cost(score)),
        *ratios,
        f"{score.median(lambda run: run.extra_memory) / 1e6:.1f}",
        f"{score.median(lambda run: run.requests):.0f}",
        f"{score.median(lambda run: run.connections):.0f}",
        *(
            figures(score.parts[name] * _PARTS[name][1]) if name in score.parts else NONE
            for name in parts
        ),
    ]


def _reasons(table: Table) -> list[str]:
    """Why there is nothing of a contender."""
    lines = [
        f"- {score.name}: {'failed: ' if score.failed else ''}{score.missing}"
        for score in table.scores
        if score.missing
    ]
    return ["", *lines] if lines else []


def readme_table(tables: Sequence[Table]) -> list[str]:
    """One line a case: ours, the floor and the best peer."""
    rows = [["", "s3reader", "floor", "best peer", "CPU: s3reader", "floor", "best peer"]]
    for table in tables:
        case = BY_NAME[table.case]
        ours = [score for score in map(table.score, case.ours) if score]
        if case.alone or not ours:
            continue
        own = min(ours, key=lambda score: score.median(wall))
        peer = table.best_peer(wall)
        others = [table.floor, peer]
        speeds = [figures(table.speed(score)) if score else NONE for score in others]
        costs = [figures(table.cost(score)) if score else NONE for score in others]
        if peer:
            speeds[1] += f" ({peer.name})"
        unit = f"{table.unit.speed}; {table.unit.cost}"
        rows.append(
            [
                f"{case.title}, {unit}",
                f"**{figures(table.speed(own))}**",
                *speeds,
                f"**{figures(table.cost(own))}**",
                *costs,
            ]
        )
    return _table(rows)


def figures(value: float) -> str:
    """Three significant digits, never an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _table(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    width = len(rows[0])
    ruler = ["---"] * left + ["---:"] * (width - left)
    return ["| " + " | ".join(cells) + " |" for cells in (rows[0], ruler, *rows[1:])]


if __name__ == "__main__":
    print(as_markdown(*load(Path(sys.argv[1]))))
