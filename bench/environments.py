"""Interpreters of their own for peers that do not go together with the others.

Contenders run in processes of their own anyway, so such a peer's process has another interpreter:
a virtual environment with what ``environments/<name>.txt`` says, made at the first use and kept in
the user's cache. What that does not name comes from the environment that runs the benchmark.
``S3READER_BENCH_<NAME>`` names an interpreter to use instead.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
import venv
from functools import cache
from pathlib import Path

HERE = Path(__file__).with_name("environments")
_TIMEOUT = 300.0  # seconds that the installation may take


class EnvironmentMissing(RuntimeError):
    """It cannot be made; says why."""


@cache
def interpreter(name: str) -> str:
    """Path of the interpreter with that name; "" is this one.

    Raises:
        EnvironmentMissing: pip failed, for want of a network perhaps.
    """
    if not name:
        return sys.executable
    given = os.environ.get(f"S3READER_BENCH_{name.upper()}")
    if given:
        return given
    requirements = HERE / f"{name}.txt"
    # Another list or another Python is another environment.
    key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache_home / "s3reader-bench" / f"{name}-{key}"
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        print(f"making an environment for {name} in {folder}", file=sys.stderr)
        _make(folder, python, requirements)
        done.touch()
    return str(python)


def _make(folder: Path, python: Path, requirements: Path) -> None:
    venv.create(folder, with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(requirements)]
    # The project's own constraints name versions that this environment exists to do without.
    environment = {key: value for key, value in os.environ.items() if key != "PIP_CONSTRAINT"}
    try:
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentMissing(f"pip did not end within {_TIMEOUT:.0f} s") from None
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        raise EnvironmentMissing(f"pip install {requirements.name}: {last}")
    # After pip, which would take what is there for installed here. Comes last on the path.
    site_packages = next(folder.glob("lib/python*/site-packages"))
    (site_packages / "benchmark.pth").write_text(sysconfig.get_path("purelib") + "\n")
