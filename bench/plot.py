"""The same figures as a picture: one row of panels a case, time on the left, CPU on the right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import FLOOR
from report import OWN, Table, figures

_COLOURS = {FLOOR: "#8a8a8a", OWN: "#1f6fb2"}
_PEER_COLOUR = "#d9a05b"
_UNITS = {
    "bytes": ("GB/s (longer is better)", "CPU s/GB (shorter is better)"),
    "requests": ("requests/s (longer is better)", "CPU µs/request (shorter is better)"),
    "reads": ("million reads/s (longer is better)", "CPU µs/read (shorter is better)"),
}


def draw(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write `bench.png` and `bench.svg`; returns their paths, none without matplotlib."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        return []
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "bench"
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
        _panel(panels[0], table, [table.speed(score) for score in _shown(table)], 0)
        _panel(panels[1], table, [table.cost(score) for score in _shown(table)], 1)
        panels[0].set_title(table.case.title.replace("`", ""), loc="left")
        panels[0].invert_yaxis()
    paths = [folder / "bench.png", folder / "bench.svg"]
    for path in paths:
        figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return paths


def _shown(table: Table) -> list[Any]:
    return [score for score in table.scores if score.runs]


def _panel(panel: Any, table: Table, values: list[float], side: int) -> None:
    scores = _shown(table)
    colours = [_COLOURS.get(score.peer, _PEER_COLOUR) for score in scores]
    bars = panel.barh([score.name for score in scores], values, color=colours)
    panel.bar_label(bars, [figures(value) for value in values], padding=3)
    panel.margins(x=0.12)
    panel.set_xlabel(_UNITS[table.case.unit][side])
    panel.spines[["top", "right"]].set_visible(False)
