"""What the user sees: the bar while it goes on, then the table, or the same as JSON."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any, TextIO

from s3reader.config import MiB

from .advice import Advice
from .candidates import READ_LIKE, Candidate
from .search import Search
from .trial import Outcome

WIDTH = 24  # of the bar, in characters
TEXT_COLUMNS = 1  # that are aligned to the left


class Bar:
    """One line, written again and again: how much of the time is over, and what is tried.

    Args:
        seconds: that all of it may take.
        stream: nothing is written if that is no terminal.
    """

    def __init__(self, seconds: float, stream: TextIO) -> None:
        self._seconds = seconds
        self._stream = stream
        self._shown = stream.isatty()
        self._began = time.monotonic()

    def show(self, text: str) -> None:
        """Show that `text` is going on."""
        over = min(1.0, (time.monotonic() - self._began) / self._seconds)
        filled = int(WIDTH * over)
        self._write(f"[{'#' * filled}{'.' * (WIDTH - filled)}] {over:4.0%} {text}")

    def clear(self) -> None:
        """Leave the line empty."""
        self._write("")

    def _write(self, text: str) -> None:
        if self._shown:
            self._stream.write(f"\r\033[K{text[:110]}")
            self._stream.flush()


def table(search: Search) -> str:
    """All candidates of a search, those that came most often first, then the fastest."""
    headings = ["reader", "parts", "connections"]
    if search.small:
        headings.append("objects/s")
    headings += ["GB/s", "spread", "CPU s/GB", "first byte", "requests", "retries", "trials"]
    lines = [headings]
    order = sorted(
        search.outcomes.items(), key=lambda item: (len(item[1]), search.rate(item[0])), reverse=True
    )
    for candidate, outcomes in order:
        row = summary(search, candidate, outcomes)
        lines.append(
            [
                candidate.reader + (" (defaults)" if candidate.default else ""),
                f"{candidate.part_size / MiB:g} MiB",
                str(candidate.connections),
                *([f"{row['objects_per_second']:,.0f}"] if search.small else []),
                f"{row['gigabytes_per_second']:.3f}",
                f"±{row['spread'] / 2:.0%}" if len(outcomes) > 1 else "",
                f"{row['cpu_seconds_per_gigabyte']:.2f}",
                f"{row['first_byte_seconds'] * 1e3:.1f} ms" if row["first_byte_seconds"] else "",
                f"{row['requests']:,}",
                f"{row['retries']:,}",
                str(len(outcomes)),
            ]
        )
    return aligned(lines)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns as wide as needed: words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number < TEXT_COLUMNS else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def summary(search: Search, candidate: Candidate, outcomes: list[Outcome]) -> dict[str, Any]:
    """A candidate's outcomes in medians, its requests and retries in sums. ``spread`` is how far
    its rates lie apart, the slowest from the fastest, as a share of their median."""
    rates = [search.rate_of(each) for each in outcomes]
    middle = median(rates)
    return {
        "reader": candidate.reader,
        "part_size": candidate.part_size,
        "connections": candidate.connections,
        "defaults": candidate.default,
        "gigabytes_per_second": median(each.rate for each in outcomes) / 1e9,
        "objects_per_second": median(each.objects_rate for each in outcomes)
        if search.small
        else None,
        "spread": (max(rates) - min(rates)) / middle if middle else 0.0,
        "cpu_seconds_per_gigabyte": median(each.cpu_per_gigabyte for each in outcomes),
        "first_byte_seconds": median(each.first_byte for each in outcomes),
        "requests": sum(each.requests for each in outcomes),
        "retries": sum(each.retries for each in outcomes),
        "throttles": sum(each.throttles for each in outcomes),
        "rates": rates,
    }


def recommendation(search: Search, advice: Advice) -> str:
    """The advice, in words."""
    kind = "small objects" if search.small else "large objects"
    lines = [f"For {kind}: {advice.line}", f"  {advice.reason}"]
    lines += [f"  {note}" for note in advice.notes]
    return "\n".join(lines)


def as_json(search: Search, advice: Advice | None) -> dict[str, Any]:
    """The same, for programs."""
    return {
        "objects": "small" if search.small else "large",
        "results": [summary(search, *item) for item in search.outcomes.items()],
        "recommendation": None
        if advice is None
        else {
            "config": advice.line,
            "settings": advice.candidate.settings(),
            "reason": advice.reason,
            "sure": advice.sure,
            "notes": list(advice.notes),
        },
    }


def legend(search: Search) -> str:
    """How the readers of a search read."""
    readers = dict.fromkeys(candidate.reader for candidate in search.outcomes)
    text = "; ".join(f"{reader}: {READ_LIKE[reader]}" for reader in readers)
    if search.readers > 1:
        text += f". {search.readers} objects are read at a time"
    return f"{text}."
