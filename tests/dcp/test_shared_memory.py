"""Targets that are the same memory, or overlap: the same result as torch's own way of reading."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from alone import ALONE
from servers.scripted import Reply, Request, object_script
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner

from s3reader import S3ClientConfig, S3ReaderConstructor
from s3reader.dcp import S3StorageReader

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is")

SIDE = 200
COUNT = SIDE * SIDE

PARTS = S3ClientConfig(unsigned=True, part_size=16 * 1024)

Views = Callable[[torch.Tensor], dict[str, torch.Tensor]]

SHARED: dict[str, Views] = {
    "the same": lambda base: {n: base[:COUNT].view(SIDE, SIDE) for n in "abc"},
    "overlapping": lambda base: {
        n: base[at : at + COUNT].view(SIDE, SIDE) for n, at in zip("abc", (0, 9, 700), strict=True)
    },
    "backwards": lambda base: {
        n: base[at : at + COUNT].view(SIDE, SIDE) for n, at in zip("abc", (700, 9, 0), strict=True)
    },
    "transposed first": lambda base: {
        "a": base[:COUNT].view(SIDE, SIDE).t(),
        "b": base[:COUNT].view(SIDE, SIDE),
        "c": base[COUNT:].view(SIDE, SIDE),
    },
    "transposed last": lambda base: {
        "a": base[COUNT:].view(SIDE, SIDE),
        "b": base[:COUNT].view(SIDE, SIDE),
        "c": base[:COUNT].view(SIDE, SIDE).t(),
    },
    "strided over a whole one": lambda base: {
        "a": base[::2].view(SIDE, SIDE),
        "b": base[5 : COUNT + 5].view(SIDE, SIDE),
        "c": base[1::2].view(SIDE, SIDE),
    },
    "side by side": lambda base: {
        "a": base[:COUNT].view(SIDE, SIDE),
        "b": base[COUNT:].view(SIDE, SIDE),
        "c": torch.zeros(SIDE, SIDE),
    },
}


@pytest.fixture
def both(new_client: Any) -> Any:
    """Storage readers over clients of small parts: the direct way, and torch's."""

    def make(uri: str) -> tuple[S3StorageReader, S3StorageReader]:
        client = new_client(part_size=16 * 1024)
        sequential = S3ReaderConstructor.sequential()
        return (
            S3StorageReader(None, uri, client=client),
            S3StorageReader(None, uri, client=client, reader_constructor=sequential),
        )

    return make


@pytest.mark.parametrize("kind", SHARED)
def test_targets_that_share_memory(save: Any, both: Any, kind: str) -> None:
    torch.manual_seed(1)
    uri = save({name: torch.randn(SIDE, SIDE) for name in "abc"})
    results = []
    for reader in both(uri):
        base = torch.zeros(2 * COUNT)
        dcp.load(SHARED[kind](base), storage_reader=reader, **ALONE)
        results.append(base)
    assert torch.equal(*results)
    assert results[0].any()


@pytest.mark.parametrize("orders", [("t", "whole"), ("whole", "t"), ("whole", "shifted", "t")])
def test_one_item_for_targets_that_share_memory(save: Any, both: Any, orders: Any) -> None:
    """A plan that wants the same stored tensor several times, into overlapping memory."""
    uri = save({"a": torch.randn(SIDE, SIDE)})

    class Sharing(DefaultLoadPlanner):
        def create_local_plan(self) -> Any:
            plan = super().create_local_plan()
            plan.items[:] = plan.items * len(orders)
            return plan

        def resolve_tensor(self, read_item: Any) -> torch.Tensor:
            whole = base[:COUNT].view(SIDE, SIDE)
            shifted = base[7 : COUNT + 7].view(SIDE, SIDE)
            return {"t": whole.t(), "whole": whole, "shifted": shifted}[next(following)]

    results = []
    for reader in both(uri):
        base, following = torch.zeros(2 * COUNT), iter(orders)
        dcp.load({"a": torch.zeros(SIDE, SIDE)}, storage_reader=reader, planner=Sharing(), **ALONE)
        results.append(base)
    assert torch.equal(*results)


def test_tied_weights_go_directly_when_they_can(save: Any, both: Any) -> None:
    weights = torch.randn(SIDE, SIDE)
    direct, _ = both(save({"embedding": weights, "head": weights.clone()}))
    shared = torch.zeros(SIDE, SIDE)
    dcp.load({"embedding": shared, "head": shared}, storage_reader=direct, **ALONE)
    assert torch.equal(shared, weights)
    assert direct.stats()["direct_items"] == 1


@pytest.mark.parametrize("late", ["a", "b"])
def test_what_comes_before_its_turn_waits(tmp_path: Path, scripted: Any, late: str) -> None:
    """One item's first part comes last."""
    saved = {name: torch.full((SIDE, SIDE), float(ord(name))) for name in "abc"}
    dcp.save(saved, checkpoint_id=tmp_path, **ALONE)
    stored = dcp.FileSystemReader(tmp_path).read_metadata().storage_data
    begins = next(info.offset for index, info in stored.items() if index.fqn == late)
    serves = {file.name: object_script(file.read_bytes()) for file in tmp_path.iterdir()}

    def script(request: Request) -> Reply:
        reply = serves[request.target.rpartition("/")[2]](request)
        asked = request.range
        if asked is not None and asked[1] is not None and asked[0] <= begins < asked[1]:
            return dataclasses.replace(reply, delay=0.5)
        return reply

    server = scripted(script)
    base = torch.zeros(2 * COUNT)
    reader = S3StorageReader(None, "s3://bucket/step", PARTS, endpoint=server.endpoint)
    dcp.load(SHARED["overlapping"](base), storage_reader=reader, **ALONE)
    expected = torch.zeros(2 * COUNT)
    for name, at in zip("abc", (0, 9, 700), strict=True):
        expected[at : at + COUNT] = float(ord(name))
    assert torch.equal(base, expected)
