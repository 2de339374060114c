"""The sdist builds by itself; the wheel holds the package and nothing else, and runs anywhere.

That the sdist suffices needs no test of its own: every wheel here was built from it, in a fresh
environment, by the fixture `distributions`.
"""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(900)]

IMPORT_EVERYTHING = """
import importlib, pkgutil, s3reader
for module in pkgutil.walk_packages(s3reader.__path__, "s3reader."):
    if ".dcp" not in module.name and ".demo" not in module.name and "__main__" not in module.name:
        importlib.import_module(module.name)
        print(module.name)
"""


def compiled_modules(checkout: Path) -> set[str]:
    """Import paths without the last dot's file name extension, such as s3reader/_ext/ranges."""
    source_root = checkout / "ext"
    return {
        source.relative_to(source_root).with_suffix("").as_posix()
        for source in source_root.rglob("*.pyx")
    }


def stem(member: str) -> str:
    """s3reader/_ext/ranges.cpython-311-x86_64-linux-gnu.so -> s3reader/_ext/ranges"""
    path = PurePosixPath(member)
    return str(path.with_name(path.name.split(".")[0]))


@pytest.fixture(scope="module")
def wheel_members(distributions: Any) -> list[str]:
    with zipfile.ZipFile(distributions.wheel) as wheel:
        return [name for name in wheel.namelist() if ".dist-info/" not in name]


def test_wheel_holds_every_compiled_module_with_its_stub(
    wheel_members: list[str], checkout: Path
) -> None:
    modules = compiled_modules(checkout)
    assert {stem(name) for name in wheel_members if name.endswith(".so")} == modules
    assert {stem(name) for name in wheel_members if name.endswith(".pyi")} >= modules
    assert "s3reader/py.typed" in wheel_members


def test_wheel_holds_every_python_module(wheel_members: list[str], checkout: Path) -> None:
    sources = {path.relative_to(checkout).as_posix() for path in checkout.glob("s3reader/**/*.py")}
    assert {name for name in wheel_members if name.endswith(".py")} == sources


def test_wheel_holds_nothing_else(wheel_members: list[str]) -> None:
    wanted = (".py", ".pyi", ".so", "/py.typed")
    assert [
        name
        for name in wheel_members
        if not name.startswith("s3reader/") or not name.endswith(wanted)
    ] == []


def test_sdist_carries_sources_tests_and_docs_but_nothing_built(
    distributions: Any, checkout: Path
) -> None:
    with tarfile.open(distributions.sdist) as sdist:
        members = {name.partition("/")[2] for name in sdist.getnames()}
    for folder in ("ext", "s3reader", "tests", "docs"):
        sources = {
            path.relative_to(checkout).as_posix()
            for pattern in ("*.py", "*.pyi", "*.pyx", "*.pxd", "*.md")
            for path in (checkout / folder).rglob(pattern)
            if "_build" not in path.parts
        }
        assert sources - members == set()
    assert [name for name in members if name.endswith((".so", ".c", ".pyc"))] == []
    assert {"LICENSE", "CHANGELOG.md", "Makefile", "constraints.txt", "tox.ini"} <= members


def test_wheel_imports_outside_the_checkout_without_torch_numpy_or_boto3(
    installed_wheel: Any, checkout: Path
) -> None:
    installed = installed_wheel.run("-m", "pip", "list", "--format=freeze").lower().splitlines()
    assert not {"torch", "numpy", "boto3"} & {line.split("==")[0] for line in installed}
    imported = set(installed_wheel.run("-W", "error", "-c", IMPORT_EVERYTHING).split())
    assert {module.replace("/", ".") for module in compiled_modules(checkout)} <= imported


def test_version_is_the_one_of_the_metadata(installed_wheel: Any) -> None:
    code = "import importlib.metadata, s3reader; print(importlib.metadata.version('s3reader'))"
    assert installed_wheel.run("-c", code) == installed_wheel.run(
        "-c", "import s3reader; print(s3reader.__version__)"
    )


def test_pip_install_of_a_checkout(
    checkout: Path, install: Callable[[Path], Any], tmp_path: Path
) -> None:
    """As a user does it: ``git clone`` and ``pip install .``, where nothing was built before."""
    clone = tmp_path / "clone"
    shutil.copytree(
        checkout,
        clone,
        ignore=shutil.ignore_patterns(
            ".git",
            ".tox",
            ".venv*",
            ".*_cache",
            ".hypothesis",
            "build",
            "*.so",
            "*.c",
            "*.egg-info",
        ),
    )
    installed = install(clone)
    installed.run("-c", "import s3reader; print(s3reader.__version__)")
