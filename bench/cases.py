"""What is measured: each case is one kind of work that every contender does in its own way."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One table of the report.

    Attributes:
        name: for the command line.
        title: for the report.
        method: of `Contender`, what a contender needs for it.
        unit: what the work is counted in: "bytes", "requests" or "reads".
        floor: mode of the C program; None where the floor is a contender itself.
        note: what the floor is, for the report.
    """

    name: str
    title: str
    method: str
    unit: str
    floor: str | None
    note: str


CASES = (
    Case(
        "readinto",
        "Whole object into a touched buffer",
        "readinto",
        "bytes",
        "touched",
        "floor: `recv` in C straight into touched memory, one connection",
    ),
    Case(
        "read",
        "Whole object as new memory, `read()`",
        "read",
        "bytes",
        "fresh",
        "floor: `recv` in C into freshly allocated memory, page faults included",
    ),
    Case(
        "chunks",
        "Whole object piece by piece, none kept",
        "chunks",
        "bytes",
        "touched",
        "floor: `recv` in C straight into touched memory, one connection",
    ),
    Case(
        "small-objects",
        "100 KiB objects into a touched array, one at a time",
        "small",
        "requests",
        "touched",
        "floor: a socket kept open in C, requests unsigned; everyone else but pycurl signs",
    ),
    Case(
        "small-reads",
        "`read(100)` from a filled buffer of 8 MiB",
        "buffered",
        "reads",
        None,
        "floor: `io.BufferedReader` over `io.BytesIO`",
    ),
)

BY_NAME = {case.name: case for case in CASES}
