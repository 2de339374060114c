"""Ranks that share the reading: the same result, and the bytes of one."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ranks
from alone import ALONE
from torch.distributed.checkpoint.utils import _DistWrapper

from s3reader import S3ClientConfig, S3ReaderConstructor
from s3reader.dcp import S3StorageReader
from s3reader.dcp.cooperate import share_out
from s3reader.dcp.items import Entry

GROUPS = hasattr(_DistWrapper(None, False, 0), "global_coordinator_rank")

pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.distributed is"),
    pytest.mark.timeout(200),
]


@pytest.fixture
def maker(s3: Any) -> Any:
    """Makes what makes a cooperating storage reader in a rank's process."""

    def make(uri: str, **options: Any) -> Any:
        config = S3ClientConfig(credentials=s3.credentials)
        options = {"cooperative": True, "endpoint": s3.endpoint} | options
        return partial(S3StorageReader, s3.region, uri, config, **options)

    return make


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
@pytest.mark.parametrize("count", [2, 4])
def test_training_goes_on(tmp_path: Path, upload: Any, maker: Any, kind: str, count: int) -> None:
    folder = str(tmp_path / "checkpoint")
    ranks.run_ranks(2, ranks.save_training, folder, kind)
    reader = maker(upload(Path(folder)))
    assert ranks.run_ranks(count, ranks.load_training, reader, kind) == [[]] * count


@pytest.mark.parametrize(("saved_on", "loaded_on"), [(4, 2), (2, 4), (1, 4)])
def test_resharding(tmp_path: Path, upload: Any, maker: Any, saved_on: int, loaded_on: int) -> None:
    folder = str(tmp_path / "checkpoint")
    ranks.run_ranks(saved_on, ranks.save_sharded, folder)
    reader = maker(upload(Path(folder)))
    assert ranks.run_ranks(loaded_on, ranks.load_sharded, reader) == [[]] * loaded_on
    assert ranks.run_ranks(loaded_on, ranks.load_sharded_unsharded, reader) == [[]] * loaded_on


@pytest.mark.parametrize("layout", ["plain", "transposed", "other dtype"])
def test_replicas_cost_one_read(
    s3: Any, tmp_path: Path, upload: Any, maker: Any, layout: str
) -> None:
    folder = str(tmp_path / "checkpoint")
    ranks.run_ranks(1, ranks.save_replicated, folder)
    uri = upload(Path(folder))
    stored = (Path(folder) / "__0_0.distcp").stat().st_size
    reader = maker(uri)
    s3.reset()
    assert ranks.run_ranks(4, ranks.load_replicated, reader, layout) == [[]] * 4
    asked = [one for one in s3.requests("GetObject") if one.path.endswith(".distcp")]
    fetched = sum(one.length for one in asked)
    if layout == "other dtype":  # what was stored cannot be passed on from such targets
        assert fetched > 1.5 * stored
    else:
        assert fetched <= stored
        assert len(asked) <= 4 + 1


def test_rank_with_tied_weights(s3: Any, tmp_path: Path, upload: Any, maker: Any) -> None:
    """What two items share memory for is read by each rank; the rest is still read once."""
    folder = str(tmp_path / "checkpoint")
    ranks.run_ranks(1, ranks.save_replicated, folder)
    stored = (Path(folder) / "__0_0.distcp").stat().st_size
    exact = S3ReaderConstructor.dcp_optimized(0)
    reader = maker(upload(Path(folder)), reader_constructor=exact)
    s3.reset()
    assert ranks.run_ranks(2, ranks.load_tied, reader) == [[], []]
    asked = [one for one in s3.requests("GetObject") if one.path.endswith(".distcp")]
    assert sum(one.length for one in asked) < 1.1 * stored


@pytest.mark.skipif(not GROUPS, reason="this torch loads only in groups that have global rank 0")
def test_group_of_some_ranks(tmp_path: Path, upload: Any, maker: Any) -> None:
    folder = str(tmp_path / "checkpoint")
    ranks.run_ranks(1, ranks.save_replicated, folder)
    reader = maker(upload(Path(folder)))
    assert ranks.run_ranks(4, ranks.load_in_pairs, reader) == [[]] * 4


def test_wrong_group_is_said_on_every_rank(tmp_path: Path, upload: Any, maker: Any) -> None:
    folder = str(tmp_path / "checkpoint")
    ranks.run_ranks(1, ranks.save_replicated, folder)
    reader = maker(upload(Path(folder)))
    for result in ranks.run_ranks(2, ranks.load_alone_in_group, reader):
        assert "cooperative=group" in str(result)


@pytest.mark.skipif(not ALONE, reason="this torch loads with all ranks or with none")
def test_load_without_the_others(tmp_path: Path, upload: Any, maker: Any) -> None:
    folder = str(tmp_path / "checkpoint")
    ranks.run_ranks(1, ranks.save_replicated, folder)
    reader = maker(upload(Path(folder)))
    assert ranks.run_ranks(2, ranks.load_on_one_rank, reader) == [[], None]


def test_rank_whose_plan_differs(tmp_path: Path, upload: Any, maker: Any) -> None:
    folder = str(tmp_path / "checkpoint")
    ranks.run_ranks(1, ranks.save_replicated, folder)
    reader = maker(upload(Path(folder)))
    results = ranks.run_ranks(2, ranks.load_with_changed_plan, reader)
    for wrong, logged in results:
        assert wrong == []
        assert "every rank reads for itself" in logged


def test_other_readers_do_not_cooperate(client: Any) -> None:
    with pytest.raises(TypeError, match="dcp_optimized"):
        S3StorageReader(
            None,
            "s3://b/k",
            client=client,
            cooperative=True,
            reader_constructor=S3ReaderConstructor.sequential(),
        )


@pytest.mark.parametrize("count", [2, 3, 4, 8])
@pytest.mark.parametrize("mebibytes", [200, 1024, 5000, 70_000])
def test_all_ranks_together_ask_no_oftener_than_one(
    client: Any, count: int, mebibytes: int
) -> None:
    session = client._session
    length = mebibytes * 1024 * 1024
    alone = math.ceil(length / session.part_size(length))
    own = length // count
    each = math.ceil(own / session.part_size(length, own=own))
    assert alone - count <= count * each <= alone


def test_shares_are_even_and_adjoining() -> None:
    entries = [Entry("file", 1000 * n, 1000 * n + 900, [], (), None) for n in range(100)]
    sharing = share_out([entries] * 4)
    for rank in range(4):
        own = sorted(place for place, owner in sharing.owners.items() if owner == rank)
        assert len(own) == 25
        assert own[-1][2] - own[0][1] < 25_000
    assert set(share_out([entries] * 3 + [[]]).wanting.values()) == {(0, 1, 2)}
