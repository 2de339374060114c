"""The same figures as pictures: speed on the left, CPU on the right.

One has a row of panels for each case, with every contender; the other, for the README, a bar for
each case, beside the best peer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cases import BY_NAME
from report import figures
from scores import FLOOR, OWN, Score, Table, cpu, wall

_COLOURS = {FLOOR: "#8a8a8a", OWN: "#1f6fb2"}
_PEER_COLOUR = "#d9a05b"


PLOTS = ("bench.png", "bench.svg", "summary.png")


def draw(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write `PLOTS`; returns their paths, none without matplotlib."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        return []
    tables = [table for table in tables if _shown(table)]
    if not tables:
        return []
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "bench"
    matplotlib.rcParams["svg.fonttype"] = "none"  # text as text, not as outlines
    cases, summary = _cases(tables), _summary(tables)
    figures = [cases, cases, *([summary] if summary else [])]
    paths = [folder / name for name in PLOTS[: len(figures)]]
    for path, figure in zip(paths, figures, strict=True):
        # Without the date, so that the same results give the same file.
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(path, dpi=60, metadata=metadata)
    return paths


def _cases(tables: Sequence[Table]) -> Any:
    from matplotlib.figure import Figure

    heights = [1 + 0.32 * len(_shown(table)) for table in tables]
    figure = Figure(figsize=(12, sum(heights)), layout="constrained")
    rows = figure.subplots(
        len(tables), 2, squeeze=False, sharey="row", gridspec_kw={"height_ratios": heights}
    )
    for panels, table in zip(rows, tables, strict=True):
        unit = table.unit
        speeds, costs = zip(*((table.speed(s), table.cost(s)) for s in _shown(table)), strict=True)
        _panel(panels[0], table, speeds, f"{unit.speed} (longer is better)")
        _panel(panels[1], table, costs, f"{unit.cost} (shorter is better)")
        panels[0].set_title(BY_NAME[table.case].title.replace("`", ""), loc="left")
        panels[0].invert_yaxis()
    return figure


def _summary(tables: Sequence[Table]) -> Any:
    """Ours by the fastest peer; None where no case has both."""
    from matplotlib.figure import Figure

    names, speeds, costs = [], [], []
    for table in tables:
        ours = [score for score in map(table.score, BY_NAME[table.case].ours) if score]
        peer = table.best_peer(wall)
        if not ours or peer is None:
            continue
        own = min(ours, key=lambda score: score.median(wall))
        names.append(f"{table.case}  ({peer.name})")
        speeds.append(peer.ratio(own, wall))
        costs.append(own.ratio(peer, cpu))
    if not names:
        return None
    figure = Figure(figsize=(12, 1 + 0.3 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for panel, values, title in (
        (left, speeds, "speed ÷ the fastest peer's (longer is better)"),
        (right, costs, "CPU ÷ the same peer's (shorter is better)"),
    ):
        bars = panel.barh(names, values, color=_COLOURS[OWN])
        panel.bar_label(bars, [f"{value:.2f}" for value in values], padding=3)
        panel.axvline(1, color=_PEER_COLOUR)
        panel.margins(x=0.12)
        panel.set_title(title, loc="left")
        panel.spines[["top", "right"]].set_visible(False)
    left.invert_yaxis()
    return figure


def _shown(table: Table) -> list[Score]:
    return [score for score in table.scores if score.runs]


def _panel(panel: Any, table: Table, values: Sequence[float], label: str) -> None:
    scores = _shown(table)
    colours = [_COLOURS.get(score.peer, _PEER_COLOUR) for score in scores]
    bars = panel.barh([score.name for score in scores], values, color=colours)
    panel.bar_label(bars, [figures(value) for value in values], padding=3)
    panel.margins(x=0.12)
    panel.set_xlabel(label)
    panel.spines[["top", "right"]].set_visible(False)
