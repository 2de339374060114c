"""Rules of the source tree that no linter knows."""

from __future__ import annotations

from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCE_ROOT = CHECKOUT / "ext"
LINE_LIMIT = 400

CYTHON_SOURCES = sorted(SOURCE_ROOT.rglob("*.pyx"))
SOURCES = sorted(
    path
    for folder in ("ext", "s3reader", "tests", "bench")
    for pattern in ("*.py", "*.pyi", "*.pyx", "*.pxd")
    for path in (CHECKOUT / folder).rglob(pattern)
)


@pytest.mark.parametrize("source", CYTHON_SOURCES, ids=lambda path: path.stem)
def test_compiled_module_has_a_stub(source: Path) -> None:
    stub = source.relative_to(SOURCE_ROOT).with_suffix(".pyi")
    assert CHECKOUT.joinpath(stub).is_file(), f"{source.name} is compiled but has no {stub}"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_source_file_is_split_before_it_grows_long(source: Path) -> None:
    with source.open(encoding="utf-8") as lines:
        count = sum(1 for _ in lines)
    assert count <= LINE_LIMIT
