"""The table at the end."""

from __future__ import annotations

from collections.abc import Iterable

from s3reader.demo.checks import Stage

HEADINGS = ("what", "reader", "bytes", "requests", "retries", "time")


def table(stages: Iterable[Stage]) -> str:
    """The stages as text: words to the left, numbers to the right, a column as wide as needed."""
    rows = [
        (
            stage.what,
            stage.reader,
            f"{stage.bytes:,}",
            f"{stage.requests:,}",
            f"{stage.retries:,}",
            f"{stage.seconds:.2f} s",
        )
        for stage in stages
    ]
    lines = [HEADINGS, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
