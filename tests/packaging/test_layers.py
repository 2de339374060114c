"""Imports point down only: the layers of docs/ARCHITECTURE.md, held against the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "s3reader"

POLICY = 1
LAYERS = {
    "_ext": 0,
    "batch": 2,
    "client": 2,
    "crew": 2,
    "fetched": 2,
    "fill": 2,
    "integrity": 2,
    "judge": 2,
    "listing": 2,
    "placement": 2,
    "request": 2,
    "results": 2,
    "selection": 2,
    "session": 2,
    "source": 2,
    "stream": 2,
    "vectored": 2,
    "wanted": 2,
    "dcp_optimized": 3,
    "feed": 3,
    "object_reader": 3,
    "ranged": 3,
    "s3reader": 3,
    "sequential": 3,
    "constructor": 4,
    "protocol": 4,
    "bench": 5,
    "dcp": 5,
    "demo": 5,
    "loader": 5,
    "__init__": 5,
    "__main__": 5,
}
"""The layer of a module of the package; what is not listed is policy."""

COMPLETES_A_CONSTRUCTOR = ("client", "constructor")
"""The one import that points up: ``get_object`` has to call what the factory made."""

MODULES = sorted(PACKAGE.rglob("*.py"))


def module_name(source: Path) -> str:
    """The first name below the package: s3reader/dcp/storage.py -> dcp"""
    return source.relative_to(PACKAGE).parts[0].removesuffix(".py")


def names_from(node: ast.ImportFrom, depth: int) -> Iterator[str]:
    """First names below the package that an import names, for a module `depth` folders deep."""
    path = node.module.split(".") if node.module else []
    if node.level == 0:
        if path[:1] != ["s3reader"]:
            return
        path = path[1:]
    elif node.level <= depth:
        return  # inside its own subpackage
    yield from path[:1] or (alias.name for alias in node.names)


def imports_at_import_time(source: Path) -> Iterator[str]:
    """What the module itself imports of the package; functions and TYPE_CHECKING do not count."""
    depth = len(source.relative_to(PACKAGE).parts) - 1
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            yield from names_from(node, depth)


@pytest.mark.parametrize("source", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down_only(source: Path) -> None:
    module = module_name(source)
    layer = LAYERS.get(module, POLICY)
    upward = [
        name
        for name in imports_at_import_time(source)
        if LAYERS.get(name, POLICY) > layer and (module, name) != COMPLETES_A_CONSTRUCTOR
    ]
    assert upward == []
