"""Training on the ranks of a process group, and going on with it on another number of them.

Parameters and optimizer state are sharded over the ranks (FSDP2). The run is made so that its
result does not depend on how many ranks there are, which lets the demo compare bits where others
compare curves: each batch consists of `SLICES` slices, each computed as a whole by one rank; what
they contribute to a gradient is put on a grid and added up in float64, where such sums are exact
and so the same in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn import functional

from s3reader import S3Client, S3ReaderConstructor
from s3reader.dcp import S3StorageReader
from s3reader.demo.digits import LEARNING_RATE, Shard, fill
from s3reader.demo.storage import BUCKET

SLICES = 4  # of a batch; the most ranks that have something to do
SLICE_ROWS = 16
NOISE = 0.05  # added to the pixels, at random
GRID = 2.0**30  # steps in 1: finer than a gradient's float32, for all but the tiniest ones

# By name; tensors as the bytes they consist of.
Values = dict[str, Any]


class OnGrid(torch.autograd.Function):
    """A copy of a parameter, whose gradient comes back rounded to multiples of 1 / `GRID`."""

    @staticmethod
    def forward(_: Any, parameter: torch.Tensor) -> torch.Tensor:
        # Memory of its own: matrix products may round by how their operands are aligned.
        return parameter.clone()

    @staticmethod
    def backward(_: Any, gradient: torch.Tensor) -> torch.Tensor:
        return torch.round(gradient * GRID) / GRID


on_grid: Callable[[torch.Tensor], torch.Tensor] = OnGrid.apply


class Linear(nn.Linear):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return functional.linear(rows, on_grid(self.weight), on_grid(self.bias))


def make_network() -> nn.Sequential:
    """Two layers over 8x8 pixels. Their rows do not divide evenly by four."""
    return nn.Sequential(nn.Flatten(), Linear(64, 50), nn.ReLU(), Linear(50, 10))


class Order:
    """Which rows make up the next batch, in another random order each epoch, and their noise.

    All ranks draw the same, and take their slices of it.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._random = torch.Generator().manual_seed(0)
        self._epoch = torch.randperm(rows, generator=self._random)
        self._next = 0

    def next_slices(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Row numbers and noise of each slice of the next batch."""
        if self._next + SLICES * SLICE_ROWS > self._rows:
            self._epoch = torch.randperm(self._rows, generator=self._random)
            self._next = 0
        for _ in range(SLICES):
            noise = torch.randn(SLICE_ROWS, 8, 8, generator=self._random)
            yield self._epoch[self._next : self._next + SLICE_ROWS], NOISE * noise
            self._next += SLICE_ROWS

    def state_dict(self) -> dict[str, Any]:
        return {"random": self._random.get_state(), "epoch": self._epoch, "next": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._random.set_state(state["random"])
        self._epoch, self._next = state["epoch"], state["next"]


class Run:
    """A training run, as far as it is on this rank."""

    def __init__(self, rows: int) -> None:
        torch.manual_seed(0)
        self.network = make_network()
        self._world_size = dist.get_world_size()
        mesh = init_device_mesh("cpu", (self._world_size,))
        exact = MixedPrecisionPolicy(reduce_dtype=torch.float64)
        for module in (self.network[1], self.network[3], self.network):
            fully_shard(module, mesh=mesh, mp_policy=exact)
        self._optimizer = torch.optim.Adam(self.network.parameters(), LEARNING_RATE)
        self._order = Order(rows)
        self.step = 0

    def train(self, until: int, pixels: torch.Tensor, classes: torch.Tensor) -> None:
        """Go on up to step `until`."""
        network: Any = self.network  # with what fully_shard has added to it
        while self.step < until:
            slices = list(self._order.next_slices())
            mine = slices[dist.get_rank() :: self._world_size]
            self._optimizer.zero_grad()
            for number, (rows, noise) in enumerate(mine, 1):
                network.set_requires_gradient_sync(number == len(mine))
                guesses = network(pixels[rows] + noise)
                torch.autograd.backward(functional.cross_entropy(guesses, classes[rows]))
            for parameter in self.network.parameters():
                assert parameter.grad is not None
                # Of the ranks' sums FSDP takes the mean. Both numbers are powers of two.
                parameter.grad.mul_(self._world_size / SLICES)
            self._optimizer.step()
            self.step += 1

    def save(self, folder: Path) -> None:
        """As torch saves: each rank its file, then one of them the metadata."""
        save(self._state(), storage_writer=FileSystemWriter(folder))

    def load(self, reader: S3StorageReader) -> None:
        state = self._state()
        load(state, storage_reader=reader)
        set_state_dict(
            self.network,
            self._optimizer,
            model_state_dict=state["network"],
            optim_state_dict=state["optimizer"],
        )
        self._order.load_state_dict(state["order"])
        self.step = state["step"]

    def values(self) -> Values:
        """All there is to a run, put together from all ranks; empty on all but the first."""
        whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state = self._state(whole)
        return dict(_values("", state)) if dist.get_rank() == 0 else {}

    def _state(self, options: StateDictOptions | None = None) -> dict[str, Any]:
        network, optimizer = get_state_dict(self.network, self._optimizer, options=options)
        order = self._order.state_dict()
        return {"network": network, "optimizer": optimizer, "order": order, "step": self.step}


def _values(name: str, tree: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _values(f"{name}.{key}" if name else str(key), value)
    elif isinstance(tree, torch.Tensor):
        yield name, tree.numpy().tobytes()
    else:
        yield name, tree


def train_and_save(
    client: S3Client, shards: list[Shard], folder: Path, save_at: int, end: int
) -> tuple[Values, Values]:
    """On each rank: train to step `end`, saving on the way; what there was at both."""
    run = Run(count_rows(shards))
    data = read_rows(client, shards)
    run.train(save_at, *data)
    run.save(folder)
    saved = run.values()
    run.train(end, *data)
    return saved, run.values()


def load_and_train(
    client: S3Client, shards: list[Shard], uri: str, end: int
) -> tuple[Values, Values, dict[str, Any]]:
    """On each rank: go on from the checkpoint to step `end`; what there was at both, and what
    loading took as the reader counted it."""
    run = Run(count_rows(shards))
    reader = S3StorageReader(client.region, uri, client=client)
    run.load(reader)
    loading = reader.stats()
    loaded = run.values()
    run.train(end, *read_rows(client, shards))
    return loaded, run.values(), loading


def count_rows(shards: list[Shard]) -> int:
    return sum(shard.pixels.shape[0] for shard in shards)


def read_rows(client: S3Client, shards: list[Shard]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels and classes of all shards, read into one tensor each."""
    rows = count_rows(shards)
    pixels, classes = shards[0].pixels.empty(rows), shards[0].classes.empty(rows)
    first = 0
    for shard in shards:
        end = first + shard.pixels.shape[0]
        for file, tensor in ((shard.pixels, pixels), (shard.classes, classes)):
            with client.get_object(
                BUCKET, file.key, reader_constructor=S3ReaderConstructor.range_based(0)
            ) as reader:
                reader.seek(file.offset)
                fill(reader, tensor[first:end])
        first = end
    return pixels, classes
