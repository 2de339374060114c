"""Range arithmetic in plain Python, which the compiled one must agree with."""

from __future__ import annotations

from s3reader._ext.ranges import Merged

Bounds = tuple[int, int]


def plain_merge(members: list[Bounds], gap: float) -> list[Merged]:
    merged: list[Merged] = []
    for index, (start, end) in enumerate(members):
        if merged and start - merged[-1].end <= gap:
            last = merged.pop()
            merged.append(Merged(last.start, max(last.end, end), last.first, index))
        else:
            merged.append(Merged(start, end, index, index))
    return merged


def plain_split(start: int, end: int, part_size: int) -> list[Bounds]:
    return [(at, min(at + part_size, end)) for at in range(start, end, part_size)]
