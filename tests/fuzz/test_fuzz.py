"""Each target runs over its corpus, and a moment over what comes of changing that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz_corpus import NAMES, seeds_of
from fuzz_targets import Target, all_targets
from fuzzing import fuzz


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, Target]]:
    with all_targets() as made:
        yield {target.name: target for target in made}


def test_every_target_has_a_name(targets: dict[str, Target]) -> None:
    assert set(targets) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_target_holds(targets: dict[str, Target], name: str, tmp_path: Path) -> None:
    target = targets[name]
    for data in seeds_of(name):
        target.run(data)
    assert fuzz([target], 0.4, seed=7, findings=tmp_path) == 0
