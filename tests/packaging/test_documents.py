"""What the documents name exists: tests next to guarantees, messages next to advice."""

from __future__ import annotations

import ast
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


class TestMessages:
    """What TROUBLESHOOTING.md quotes is what the code says; an ellipsis stands for what varies."""

    document = CHECKOUT / "docs" / "TROUBLESHOOTING.md"

    def quoted(self) -> list[str]:
        """The texts in quotation marks in the bold beginnings of its entries."""
        text = " ".join(self.document.read_text().split())
        return [
            each
            for heading in re.findall(r"\*\*(.+?)\*\*", text)
            for each in re.findall(r'"([^"]+)"', heading)
        ]

    def said(self) -> list[str]:
        """Texts of the code, what varies in them left out."""
        texts = []
        for path in (CHECKOUT / "s3reader").rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = [each for each in node.values if isinstance(each, ast.Constant)]
                    texts.append("\0".join(str(each.value) for each in parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
        for path in (CHECKOUT / "ext").rglob("*.pyx"):
            texts.append(re.sub(r'"\s+f?"', "", path.read_text()))
        return texts

    def test_are_those_of_the_code(self) -> None:
        said = self.said()
        quoted = self.quoted()
        assert len(quoted) > 30
        for message in quoted:
            pieces = [piece.strip() for piece in message.split("…") if piece.strip()]
            pattern = re.compile(".*".join(map(re.escape, pieces)), re.DOTALL)
            assert any(pattern.search(text) for text in said), f"nothing says {message!r}"
