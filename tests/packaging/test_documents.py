"""What the documents name exists: tests next to guarantees, messages next to advice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
TESTS = CHECKOUT / "tests"
DOCUMENTS = sorted((CHECKOUT / "docs").glob("*.md"))
NAME = re.compile(r"`(?:tests/)?((?:\w+/)*test_\w+\.py)(?:::(\w+))?`")
HELD_BY = "| guarantee | held by |"
PROMISES = CHECKOUT / "docs" / "SEMANTICS.md"


def named_tests(text: str) -> list[tuple[str, str]]:
    """Files and, where one is named, the function or class in it."""
    return [(match[1], match[2] or "") for match in NAME.finditer(text)]


def files_named(name: str) -> list[Path]:
    """The tests of that name; a bare one may be in any folder."""
    exact = TESTS / name
    return [exact] if exact.exists() else [] if "/" in name else list(TESTS.rglob(name))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_tests_that_are_named_exist(document: Path) -> None:
    for name, member in named_tests(document.read_text()):
        found = files_named(name)
        assert found, f"{document.name} names {name}, which is not there"
        defined = re.compile(rf"^\s*(?:def|class) {member}\b", re.MULTILINE)
        assert any(defined.search(path.read_text()) for path in found), (
            f"{document.name} names {member}, which is not in {name}"
        )


def test_every_guarantee_has_its_test() -> None:
    lines = PROMISES.read_text().splitlines()
    tables = [number for number, line in enumerate(lines) if line == HELD_BY]
    assert len(tables) >= 7
    for table in tables:
        for line in lines[table + 2 :]:
            if not line.startswith("|"):
                break
            assert named_tests(line), f"nothing holds: {line}"


def test_names_are_recognised() -> None:
    text = "`test_a.py`, `tests/b/test_c.py`, `d/test_e.py::test_f`, `setup.py`"
    assert named_tests(text) == [("test_a.py", ""), ("b/test_c.py", ""), ("d/test_e.py", "test_f")]
