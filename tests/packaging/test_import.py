"""``import s3reader`` is cheap, and drags nothing in that a script may not want.

Time is no matter of a test; what an import costs is, above all, the modules it imports.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

LIMIT = 110
"""Modules of the standard library, beyond those of a bare interpreter: 90 with Python 3.11."""

UNWANTED = frozenset(
    "asyncio concurrent email http json multiprocessing sqlite3 ssl subprocess tempfile unittest "
    "zipfile".split()
)
"""Parts of the standard library that bring in many others, or start something."""

LIST_IMPORTS = """
import sys
before = {*sys.modules}
import s3reader
after = {*sys.modules}
import json
print(json.dumps(sorted(after - before)))
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What an import of s3reader imports, in a new interpreter away from the source tree."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    command = [sys.executable, "-W", "error", "-c", LIST_IMPORTS]
    done = subprocess.run(command, check=True, cwd=elsewhere, stdout=subprocess.PIPE, text=True)
    names: list[str] = json.loads(done.stdout)
    return names


def top(module: str) -> str:
    return module.partition(".")[0]


def test_import_brings_in_only_itself_and_the_standard_library(imported: list[str]) -> None:
    # Cython keeps types that its modules share in modules of its own, which it makes in memory.
    known = sys.stdlib_module_names | {"s3reader", "cython_runtime"}
    others = {top(name) for name in imported} - known
    assert {name for name in others if not name.startswith("_cython_")} == set()


def test_import_leaves_heavy_parts_of_the_standard_library_alone(imported: list[str]) -> None:
    assert {top(name) for name in imported} & UNWANTED == set()


def test_import_brings_in_few_modules(imported: list[str]) -> None:
    standard = [name for name in imported if top(name) in sys.stdlib_module_names]
    assert len(standard) <= LIMIT, standard
