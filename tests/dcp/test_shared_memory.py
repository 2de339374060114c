"""Targets that are the same memory, or overlap: the same result as torch's own way of reading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from alone import ALONE
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner

from s3reader import S3ReaderConstructor
from s3reader.dcp import S3StorageReader

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is")

SIDE = 200
COUNT = SIDE * SIDE

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
