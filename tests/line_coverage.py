"""Adds up line coverage of Python and of Cython code, after the tests ran on counting modules.

``python tests/line_coverage.py build/coverage/tmp``, with the folder of the object files of a
build with ``S3READER_COVERAGE=1`` (``tox -e cov`` does it all). Python's lines come from
coverage.py. Cython's come from gcov, which counts lines of the generated C: before the code of
each Cython line, Cython repeats the line in a comment, as in ::

    /* "s3reader/_ext/ranges.pyx":17

A Cython line counts if a function of the source has C of its own for it, and is covered if the
first of that C ran; what follows may be cleaning up that belongs to other lines. C that Cython adds
by itself (argument parsing, allocation of objects, initialisation of modules) does not count.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import coverage

MARKER = re.compile(r' */[*] "(?P<source>[^"]+\.(?:pyx|pxd))":(?P<line>\d+)$')
"""A comment's first line in the generated C; the Cython line's text and its neighbours follow."""

BODY = re.compile(r"__pyx_(pf|f|gb)_")
"""C functions that hold what a function, a method or a generator of the source says."""

FINALLY = "/*finally:*/"

Place = tuple[str, int]
"""A source, relative to its root, and a line, from 1."""


@dataclass
class Lines:
    """What is known of one source's lines."""

    covered: set[int] = field(default_factory=set)
    missed: set[int] = field(default_factory=set)

    def add(self, line: int, ran: bool) -> None:
        """One more record of a line; once covered, it stays so."""
        if ran:
            self.covered.add(line)
        elif line not in self.covered:
            self.missed.add(line)
        self.missed -= self.covered

    @property
    def count(self) -> int:
        return len(self.covered) + len(self.missed)


def cython_records(
    c_lines: Sequence[str], counted: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[Place, bool]]:
    """Whether a Cython line's C ran, once for each piece of C that was made from the line.

    Args:
        c_lines: the generated C.
        counted: gcov's records of it, of which each has a `line_number` and a `count`.
    """
    ran: dict[int, bool] = defaultdict(bool)
    for record in counted:
        if BODY.match(record.get("function_name", "")):
            ran[record["line_number"]] |= record["count"] > 0
    numbers = sorted(ran)
    markers = [(number, MARKER.match(text)) for number, text in enumerate(c_lines, 1)]
    pieces = [(number, marker) for number, marker in markers if marker]
    ends = [number for number, _ in pieces[1:]] + [len(c_lines)]
    for (begin, marker), end in zip(pieces, ends, strict=True):
        inside = numbers[bisect_left(numbers, begin) : bisect_right(numbers, end)]
        if not inside:
            continue
        # One piece holds copies of a `finally`, for each way that leads there.
        copies = any(FINALLY in text for text in c_lines[begin : inside[0]])
        deciding = inside if copies else inside[:1]
        place = (marker["source"], int(marker["line"]))
        yield place, any(ran[number] for number in deciding)


def compiled_files(objects: Path, source_root: Path) -> dict[str, Lines]:
    """Coverage of the Cython sources below `source_root`, by path.

    Raises:
        SystemExit: there are no counting modules, or gcov fails.
    """
    files: dict[str, Lines] = defaultdict(Lines)
    # One for each object file, also of a module that nothing imported.
    notes = sorted(str(path.resolve()) for path in objects.rglob("*.gcno"))
    if not notes:
        sys.exit(f"no modules built with S3READER_COVERAGE=1 in {objects}")
    for note in notes:
        command = ["gcov", "--stdout", "--json-format", note]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed: {done.stderr}")
        counted = json.loads(done.stdout)
        compiled_in = counted["current_working_directory"]
        for file in counted["files"]:
            if not file["file"].endswith(".c"):
                continue
            c_lines = Path(compiled_in, file["file"]).read_text(encoding="utf-8").splitlines()
            for (source, line), ran in cython_records(c_lines, file["lines"]):
                path = source_root / source
                if path.is_file():
                    files[str(path)].add(line, ran)
    return files


def python_files(measured: coverage.Coverage) -> dict[str, Lines]:
    """Coverage of the Python sources, by path."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        measured.json_report(outfile=str(report))
        found = json.loads(report.read_text())["files"]
    return {
        path: Lines(set(lines["executed_lines"]), set(lines["missing_lines"]))
        for path, lines in found.items()
    }


def spans(lines: Iterable[int]) -> str:
    """Lines in short: 3, 7-9"""
    runs: list[list[int]] = []
    for line in sorted(lines):
        if runs and line == runs[-1][1] + 1:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def percentage(covered: int, count: int) -> float:
    return 100 * covered / count if count else 100.0


def table(files: Mapping[str, Lines]) -> Iterator[str]:
    """A line for each file, and the sums."""
    width = max(map(len, files))
    row = f"{{:{width}}} {{:>6}} {{:>6}} {{:>7}}  {{}}"
    yield row.format("source", "lines", "missed", "covered", "lines missed").rstrip()

    def figures(name: str, parts: list[Lines], missed: str = "") -> str:
        covered, count = sum(len(part.covered) for part in parts), sum(p.count for p in parts)
        share = f"{percentage(covered, count):.1f} %"
        return row.format(name, count, count - covered, share, missed).rstrip()

    for path in sorted(files):
        yield figures(path, [files[path]], spans(files[path].missed))
    cython = [lines for path, lines in files.items() if path.endswith((".pyx", ".pxd"))]
    python = [lines for path, lines in files.items() if path.endswith(".py")]
    yield figures("Python", python)
    yield figures("Cython", cython)
    yield figures("total", python + cython)


def main(arguments: list[str]) -> int:
    (objects,) = arguments
    measured = coverage.Coverage()
    measured.load()
    files = python_files(measured) | compiled_files(Path(objects), Path("ext"))
    print(*table(files), sep="\n")
    wanted = measured.get_option("report:fail_under")
    assert isinstance(wanted, float)
    parts = files.values()
    reached = percentage(sum(len(part.covered) for part in parts), sum(p.count for p in parts))
    if reached < wanted:
        print(f"{reached:.1f} % of the lines are covered, less than {wanted:.0f} %")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
