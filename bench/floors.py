"""Floors: a C program, compiled when the benchmark runs, that receives and does nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("floor.c")


class FloorMissing(RuntimeError):
    """There is no C compiler, or it refuses the program."""


def compile_floor(folder: Path) -> Path:
    """Compile the program into ``folder``.

    Raises:
        FloorMissing: it cannot be compiled; says what to install.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise FloorMissing("no C compiler: apt-get install gcc, or set CC to one")
    program = folder / "floor"
    command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise FloorMissing(f"{' '.join(command)} failed:\n{done.stderr}")
    return program
