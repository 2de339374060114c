"""The same figures as a picture: one row of panels a case, time on the left, CPU on the right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cases import BY_NAME
from report import figures
from scores import FLOOR, OWN, Score, Table

_COLOURS = {FLOOR: "#8a8a8a", OWN: "#1f6fb2"}
_PEER_COLOUR = "#d9a05b"


def draw(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write `bench.png` and `bench.svg`; returns their paths, none without matplotlib."""
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
    from matplotlib import pyplot

    heights = [1 + 0.32 * len(_shown(table)) for table in tables]
    figure, rows = pyplot.subplots(
        len(tables),
        2,
        figsize=(12, sum(heights)),
        squeeze=False,
        sharey="row",
        height_ratios=heights,
        layout="constrained",
    )
    for panels, table in zip(rows, tables, strict=True):
        unit = table.unit
        speeds, costs = zip(*((table.speed(s), table.cost(s)) for s in _shown(table)), strict=True)
        _panel(panels[0], table, speeds, f"{unit.speed} (longer is better)")
        _panel(panels[1], table, costs, f"{unit.cost} (shorter is better)")
        panels[0].set_title(BY_NAME[table.case].title.replace("`", ""), loc="left")
        panels[0].invert_yaxis()
    paths = [folder / "bench.png", folder / "bench.svg"]
    for path in paths:
        # Without the date, so that the same results give the same file.
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(path, dpi=60, metadata=metadata)
    pyplot.close(figure)
    return paths


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
