"""What faster networks take, worked out from measured costs: cores, connections, memory.

Nothing here was measured at those rates. A core is one at the speed of those that were measured,
and the kernel's share of the costs is that of loopback, without a network card's interrupts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cases import BY_NAME
from scores import Score, Table

RATES = (10, 100, 400)
"""Gigabits a second: a small instance's network, and the largest ones'."""
CONNECTION_RATE = 85e6
"""Bytes a second that S3 gives one connection (85-90 MB/s, Amazon S3's performance guidelines)."""
FIRST_BYTE = 0.03
"""Seconds; the guidelines' small-object latency is 0.1 to 0.2, its best a fifth of that."""
PART = 8 * 1024 * 1024
SMALL = 100 * 1024
HELD = 512 * 1024
"""Bytes that a connection holds: libcurl's receive buffer, and the kernel's at its usual size."""


def scaling_rows(tables: Sequence[Table], about: dict[str, Any]) -> list[str]:
    """A table: for each rate what large objects take, and objects of 100 KiB."""
    costs = {name: _cost(tables, name) for name in ("readinto", "readinto-tls", "objects-together")}
    lines = [
        "| Gb/s | connections | cores, HTTP | cores, TLS | parts/s | "
        "buffers of connections, MB | 100 KiB objects/s | cores for them |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for gigabits in RATES:
        rate = gigabits * 1e9 / 8
        # A connection waits for the first byte of each part, and gives nothing meanwhile.
        effective = PART / (PART / CONNECTION_RATE + FIRST_BYTE)
        connections = rate / effective
        small = costs["objects-together"]
        cells = [
            f"{gigabits}",
            f"{connections:.0f}",
            _cores(costs["readinto"], rate / 1e9),
            _cores(costs["readinto-tls"], rate / 1e9),
            f"{rate / PART:,.0f}",
            f"{connections * HELD / 1e6:.0f}",
            f"{rate / SMALL:,.0f}",
            _cores(None if small is None else small * 1e-6, rate / SMALL),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, *_core_rows(tables, costs)]


def _core_rows(tables: Sequence[Table], costs: dict[str, float | None]) -> list[str]:
    """What one core carries, in a sentence for each that was measured."""
    rows = [""]
    for case, what in (("readinto", "plain HTTP"), ("readinto-tls", "TLS")):
        cost, ours = costs[case], _best(tables, case)
        if cost is None or ours is None:
            continue
        kernel = ours.median(lambda run: run.system) / ours.median(lambda run: run.cpu)
        rows.append(
            f"- One core carries {8 / cost:.0f} Gb/s over {what}; "
            f"{kernel:.0%} of the CPU of a byte is the kernel's."
        )
    return rows if len(rows) > 1 else []


def _cores(cost: float | None, work: float) -> str:
    return "\N{EN DASH}" if cost is None else f"{cost * work:.1f}"


def _best(tables: Sequence[Table], case: str) -> Score | None:
    """Ours with the least CPU of those that answer for a case."""
    for table in tables:
        if table.case == case:
            scores = [score for score in map(table.score, BY_NAME[case].ours) if score]
            return min(scores, key=table.cost, default=None)
    return None


def _cost(tables: Sequence[Table], case: str) -> float | None:
    """CPU of ours, in the unit of the case."""
    ours = _best(tables, case)
    table = next((table for table in tables if table.case == case), None)
    return table.cost(ours) if table and ours else None
