"""Loads by real process groups: replicated, sharded, and saved by other numbers of ranks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ranks

from s3reader import S3ClientConfig, S3ReaderConstructor
from s3reader.dcp import S3StorageReader

pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.distributed is"),
    pytest.mark.timeout(200),
]


@pytest.fixture
def maker(s3: Any) -> Any:
    """Makes what makes a storage reader in a rank's process."""

    def make(uri: str, **options: Any) -> Any:
        config = S3ClientConfig(credentials=s3.credentials)
        return partial(S3StorageReader, s3.region, uri, config, endpoint=s3.endpoint, **options)

    return make


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
@pytest.mark.parametrize(("saved_on", "loaded_on"), [(2, 2), (4, 2), (2, 4)])
def test_training_goes_on(
    tmp_path: Path, upload: Any, maker: Any, kind: str, saved_on: int, loaded_on: int
) -> None:
    folder = str(tmp_path / "checkpoint")
    assert ranks.run_ranks(saved_on, ranks.save_training, folder, kind) == [None] * saved_on
    reader = maker(upload(Path(folder)))
    assert ranks.run_ranks(loaded_on, ranks.load_training, reader, kind) == [[]] * loaded_on


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A sharded state as one, two and four ranks save it."""
    folders = {}
    for count in (1, 2, 4):
        folder = tmp_path_factory.mktemp("sharded") / "checkpoint"
        assert ranks.run_ranks(count, ranks.save_sharded, str(folder)) == [None] * count
        folders[count] = folder
    return folders


@pytest.mark.parametrize(
    ("saved_on", "loaded_on"), [(4, 4), (4, 2), (4, 1), (2, 4), (1, 4), (2, 1), (1, 2)]
)
def test_resharding(
    sharded: dict[int, Path], upload: Any, maker: Any, saved_on: int, loaded_on: int
) -> None:
    reader = maker(upload(sharded[saved_on]))
    assert ranks.run_ranks(loaded_on, ranks.load_sharded, reader) == [[]] * loaded_on


@pytest.mark.parametrize("constructor", ["sequential", "range_based"])
def test_resharding_with_other_readers(
    sharded: dict[int, Path], upload: Any, maker: Any, constructor: str
) -> None:
    made = getattr(S3ReaderConstructor, constructor)()
    reader = maker(upload(sharded[4]), reader_constructor=made)
    assert ranks.run_ranks(2, ranks.load_sharded, reader) == [[], []]


def test_sharded_into_plain_tensors(sharded: dict[int, Path], upload: Any, maker: Any) -> None:
    uri = upload(sharded[4])
    assert ranks.single_process(ranks.load_sharded_unsharded, maker(uri)) == []
    assert ranks.run_ranks(2, ranks.load_sharded_unsharded, maker(uri)) == [[], []]


def test_rank_with_nothing_to_load(sharded: dict[int, Path], upload: Any, maker: Any) -> None:
    first, second = ranks.run_ranks(2, ranks.load_on_first_rank, maker(upload(sharded[4])))
    assert first["line"] == [4000.0 + n for n in range(29)]
    assert second == {}
