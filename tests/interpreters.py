"""Code that runs in an interpreter of its own: for signals, forks and the end of a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import s3reader

TESTS = Path(__file__).parent
INSTALLED = Path(s3reader.__file__).parents[1]


@pytest.fixture
def start_python(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Runs code in a new interpreter; ``environ`` is put on top of this process's environment."""
    started: list[subprocess.Popen[str]] = []
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # Tests in a shell's background ignore it, as their children would.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def start(code: str, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        # Not from the checkout: there the package may lie without its compiled modules.
        child = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{INSTALLED}{os.pathsep}{TESTS}", **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        return child

    yield start
    for child in started:
        with child:
            child.kill()


@pytest.fixture
def run_python(
    start_python: Callable[..., subprocess.Popen[str]],
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The same, to its end; an interpreter that takes longer than ``timeout`` is a failure."""

    def run(
        code: str, *arguments: str, timeout: float = 60.0, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        child = start_python(code, *arguments, **environ)
        output, errors = child.communicate(timeout=timeout)
        return subprocess.CompletedProcess(child.args, child.returncode, output, errors)

    return run
