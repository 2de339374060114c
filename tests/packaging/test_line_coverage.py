"""The coverage of Cython code, on a module small enough to count by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from line_coverage import Lines, compiled_files, spans, table

SOURCE = '''\
def half(int value):
    if value % 2:
        raise ValueError("odd")
    return value // 2


cdef int never_called() noexcept nogil:
    return 1


def guarded(action):
    """Where cleaning up shares C with lines that never run."""
    try:
        action()
        return 1
    except ZeroDivisionError:
        return 2
    finally:
        action = None


cdef class Box:
    cdef readonly int content

    def __init__(self):
        self.content = never_called()


def numbers(count):
    for number in range(count):
        yield number
'''
RUN = "import probe; probe.half(4); probe.guarded(lambda: 1 / 0); list(probe.numbers(0))"
COVERED = {1, 2, 4, 11, 13, 14, 16, 17, 19, 29, 30}
MISSED = {3, 7, 8, 15, 23, 25, 26, 31}


def test_lines_that_ran_are_told_from_lines_that_did_not(tmp_path: Path) -> None:
    source = tmp_path / "probe.pyx"
    source.write_text(SOURCE)
    run = {"check": True, "cwd": tmp_path}
    subprocess.run([sys.executable, "-m", "cython", "-3", source.name], **run)
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC")).split()
    headers = f"-I{sysconfig.get_path('include')}"
    compile_only = ["-O0", "-w", "--coverage", "-fPIC", headers, "-c", "probe.c", "-o", "probe.o"]
    subprocess.run([*compiler, *compile_only], **run)
    subprocess.run([*compiler, "--coverage", "-shared", "probe.o", "-o", "probe.so"], **run)
    subprocess.run([sys.executable, "-c", RUN], **run, env={**os.environ, "PYTHONPATH": "."})
    (lines,) = compiled_files(tmp_path, tmp_path).values()
    assert (lines.covered, lines.missed) == (COVERED, MISSED)


def test_module_that_nothing_imports_is_missed_not_left_out(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="S3READER_COVERAGE"):
        compiled_files(tmp_path, tmp_path)


def test_table_adds_up() -> None:
    files = {"ext/a.pyx": Lines({1, 2, 3}, {7, 8, 10}), "b.py": Lines({1, 2}, set())}
    rows = [row.split() for row in table(files)]
    assert rows[1:] == [
        ["b.py", "2", "0", "100.0", "%"],
        ["ext/a.pyx", "6", "3", "50.0", "%", "7-8,", "10"],
        ["Python", "2", "0", "100.0", "%"],
        ["Cython", "6", "3", "50.0", "%"],
        ["total", "8", "3", "62.5", "%"],
    ]


def test_spans_join_neighbours() -> None:
    assert spans({9, 3, 8, 7, 1}) == "1, 3, 7-9"
