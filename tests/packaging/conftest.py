"""What the packaging tests share: the checkout, its build products, a place to install them.

Everything is built once a session, the way a release is: ``python -m build`` makes the sdist
from the checkout and the wheel from that sdist, so the wheel proves the sdist complete.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Distributions:
    sdist: Path
    wheel: Path


@dataclass(frozen=True)
class InstalledPackage:
    """A fresh virtual environment that holds s3reader and its required dependencies only."""

    python: Path
    home: Path

    def run(self, *arguments: str) -> str:
        return run([str(self.python), *arguments], cwd=self.home)


def run(command: Sequence[str], cwd: Path) -> str:
    """Run `command` in `cwd` without the caller's Python path; its output, or a failed test."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        pytest.fail(f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout[-8000:]}")
    return done.stdout


def fresh_install(requirement: Path, home: Path) -> InstalledPackage:
    run([sys.executable, "-m", "venv", str(home / "venv")], cwd=home)
    installed = InstalledPackage(home / "venv" / "bin" / "python", home)
    installed.run("-m", "pip", "install", "--quiet", str(requirement))
    return installed


@pytest.fixture(scope="session", autouse=True)
def no_settings_from_outside() -> None:
    """Nothing is taken away here: pip needs the proxy it has."""


@pytest.fixture(scope="session")
def checkout() -> Path:
    return CHECKOUT


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    out = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--outdir", str(out), str(CHECKOUT)], cwd=out)
    (sdist,) = out.glob("*.tar.gz")
    (wheel,) = out.glob("*.whl")
    return Distributions(sdist, wheel)


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], InstalledPackage]:
    """Installs a file or directory into a fresh environment, far from the checkout."""
    return lambda requirement: fresh_install(requirement, tmp_path_factory.mktemp("install"))


@pytest.fixture(scope="session")
def installed_wheel(
    distributions: Distributions, install: Callable[[Path], InstalledPackage]
) -> InstalledPackage:
    return install(distributions.wheel)
