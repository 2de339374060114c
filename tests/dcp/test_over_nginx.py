"""Loads from nginx: a real server with real ranges, next to torch's reader of the same files."""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ranks
import torch
import torch.distributed.checkpoint as dcp
from alone import ALONE
from servers.nginx import Nginx
from torch.distributed.checkpoint.api import CheckpointException

from s3reader import S3Client, S3ClientConfig
from s3reader.dcp import S3StorageReader

pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.distributed is"),
    pytest.mark.timeout(200),
]

CONFIG = S3ClientConfig(unsigned=True, part_size=256 * 1024)


@pytest.fixture
def folder(nginx: Nginx) -> Path:
    """Where a test alone saves; nginx serves it."""
    return nginx.root / "bucket" / secrets.token_hex(4)


@pytest.fixture
def reader_of(nginx: Nginx) -> Any:
    """Makes a storage reader of a folder that nginx serves."""
    with S3Client("us-east-1", endpoint=nginx.endpoint, s3client_config=CONFIG) as client:

        def make(folder: Path, **options: Any) -> S3StorageReader:
            return S3StorageReader(None, f"s3://bucket/{folder.name}", client=client, **options)

        yield make


def state_of() -> dict[str, Any]:
    torch.manual_seed(2)
    state: dict[str, Any] = {f"t{n}": torch.randn(n * 700, 50) for n in range(1, 9)}
    return state | {"half": torch.randn(333).bfloat16(), "step": 12, "scalar": torch.tensor(1.5)}


def zeros_like(state: dict[str, Any]) -> dict[str, Any]:
    return {k: torch.zeros_like(v) if isinstance(v, torch.Tensor) else 0 for k, v in state.items()}


def test_same_as_torch_from_the_folder(folder: Path, reader_of: Any, constructor: Any) -> None:
    state = state_of()
    dcp.save(state, checkpoint_id=folder, **ALONE)
    ours, theirs = zeros_like(state), zeros_like(state)
    ours["t3"] = torch.zeros(50, 2100).t()
    dcp.load(theirs, checkpoint_id=folder, **ALONE)
    dcp.load(ours, storage_reader=reader_of(folder, reader_constructor=constructor), **ALONE)
    for name, value in theirs.items():
        assert torch.equal(torch.as_tensor(ours[name]), torch.as_tensor(value)), name


def test_bytes_and_requests_are_those_that_are_needed(folder: Path, reader_of: Any) -> None:
    state = {f"t{n}": torch.full((256, 256), float(n)) for n in range(200)}
    dcp.save(state, checkpoint_id=folder, **ALONE)
    size = (folder / "__0_0.distcp").stat().st_size
    target = zeros_like(state)
    reader = reader_of(folder)
    before = reader.stats()
    dcp.load(target, storage_reader=reader, **ALONE)
    stats = reader.stats()
    assert all(torch.equal(target[name], value) for name, value in state.items())
    fetched = stats["bytes_received"] - before["bytes_received"]
    assert fetched == size + (folder / ".metadata").stat().st_size
    assert stats["direct_items"] == 200
    asked = stats["requests"]["GetObject"] - before["requests"].get("GetObject", 0)
    assert asked <= -(-size // CONFIG.part_size) + 2
    sparse = {name: torch.zeros(256, 256) for name in list(state)[::10]}
    reader = reader_of(folder)
    dcp.load(sparse, storage_reader=reader, **ALONE)
    needed = sum(value.nbytes for value in sparse.values())
    again = reader.stats()["bytes_received"] - stats["bytes_received"]
    assert needed < again < 1.15 * needed + (folder / ".metadata").stat().st_size


def test_flipped_byte(folder: Path, reader_of: Any) -> None:
    dcp.save({"weights": torch.full((2000,), 7.0)}, checkpoint_id=folder, **ALONE)
    file = folder / "__0_0.distcp"
    data = bytearray(file.read_bytes())
    data[data.index(torch.full((9,), 7.0).numpy().tobytes()) + 4001] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointException, match="'weights' from __0_0"):
        dcp.load({"weights": torch.zeros(2000)}, storage_reader=reader_of(folder), **ALONE)


@pytest.mark.parametrize(("saved_on", "loaded_on"), [(4, 2), (2, 4)])
@pytest.mark.parametrize("cooperative", [False, True])
def test_resharding(
    nginx: Nginx, folder: Path, saved_on: int, loaded_on: int, cooperative: bool
) -> None:
    ranks.run_ranks(saved_on, ranks.save_sharded, str(folder))
    reader = partial(
        S3StorageReader,
        "us-east-1",
        f"s3://bucket/{folder.name}",
        CONFIG,
        endpoint=nginx.endpoint,
        cooperative=cooperative,
    )
    assert ranks.run_ranks(loaded_on, ranks.load_sharded, reader) == [[]] * loaded_on
    assert ranks.run_ranks(loaded_on, ranks.load_sharded_unsharded, reader) == [[]] * loaded_on
