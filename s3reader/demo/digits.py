"""Handwritten digits: ``.npy`` shards in S3, read in batches into tensors, learned from.

A shard is two objects, pixels and classes, each an ``.npy`` file whose rows are the samples. The
header is read and parsed once (`open_shard`); from then on a batch is a byte range of each, and
`Batches` reads it with ``readinto`` into tensors allocated for it: no copy in between. The
batches are rows next to each other, in a random order of batches.

A ``DataLoader``'s worker processes get `Batches` by fork or pickle, with the client in it, and
open readers of their own. With each batch they send what their readers have counted so far.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

from s3reader import DCPOptimizedS3Reader, ItemRange, S3Client, S3Reader, S3ReaderConstructor
from s3reader.demo.checks import Stage
from s3reader.demo.storage import BUCKET, Storage

SHARDS = 6
HELD_OUT_SHARDS = 1  # the last ones; the classifier never learns from them
BATCH_ROWS = 32
EPOCHS = 8
WORKERS = 2
LEARNING_RATE = 4e-3
BRIGHTEST = 16.0  # of the pixels in scikit-learn's digits
# The longest .npy header numpy writes for arrays as these, magic string included, in bytes.
HEADER_BYTES = 128


@dataclass(frozen=True)
class NpyFile:
    """Where the rows of an ``.npy`` object are: they begin at byte `offset`."""

    key: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape[1:])

    def rows(self, first: int, end: int) -> tuple[int, int]:
        """The byte range of rows `first` to `end`, half-open as all ranges here."""
        return self.offset + first * self.row_bytes, self.offset + end * self.row_bytes

    def empty(self, rows: int) -> torch.Tensor:
        """A tensor for that many rows, not initialised."""
        return torch.from_numpy(np.empty((rows, *self.shape[1:]), self.dtype))


@dataclass(frozen=True)
class Shard:
    pixels: NpyFile
    classes: NpyFile


@dataclass
class Batch:
    """Rows `first` to `first` + n of a shard, as read; `worker` and `stats` say who read it and
    what that worker's readers have counted since they were opened."""

    shard: Shard
    first: int
    pixels: torch.Tensor
    classes: torch.Tensor
    worker: int
    stats: list[dict[str, Any]]

    def parts(self) -> Iterator[tuple[NpyFile, int, torch.Tensor]]:
        """Each tensor, with its file and the offset it was read from."""
        for file, tensor in (
            (self.shard.pixels, self.pixels),
            (self.shard.classes, self.classes),
        ):
            yield file, file.rows(self.first, self.first)[0], tensor


def put_digits(storage: Storage) -> list[tuple[str, str]]:
    """Upload the digits in shards; returns the keys of each shard's pixels and classes."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    keys = []
    for number, rows in enumerate(np.array_split(order, SHARDS)):
        pair = (f"digits/pixels-{number}.npy", f"digits/classes-{number}.npy")
        pixels = (digits.images[rows] / BRIGHTEST).astype(np.float32)
        for key, array in zip(pair, (pixels, digits.target[rows].astype(np.int64)), strict=True):
            file = io.BytesIO()
            np.save(file, array)
            storage.put(key, file.getvalue())
        keys.append(pair)
    return keys


def open_shard(storage: Storage, keys: tuple[str, str], stage: Stage) -> tuple[Shard, list[bytes]]:
    """Read and parse the two headers of a shard; also returns them as they were read."""
    files, headers = [], []
    for key in keys:
        with storage.client.get_object(
            BUCKET, key, reader_constructor=S3ReaderConstructor.range_based(buffer_size=0)
        ) as reader:
            header = reader.read(HEADER_BYTES)
            stage.count(reader.stats())
        file = io.BytesIO(header)
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        files.append(NpyFile(key, dtype, shape, file.tell()))
        headers.append(header)
    return Shard(*files), headers


class Batches(Dataset[Batch]):
    """The batches of some shards, each read by byte range when it is asked for."""

    def __init__(self, client: S3Client, shards: list[Shard]) -> None:
        self._client = client
        self._batches = [
            (shard, first)
            for shard in shards
            for first in range(0, shard.pixels.shape[0], BATCH_ROWS)
        ]
        self._readers: dict[str, S3Reader] = {}

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Batch:
        shard, first = self._batches[index]
        end = min(first + BATCH_ROWS, shard.pixels.shape[0])
        # Allocated for each batch: the loader hands the memory itself to the main process.
        pixels = shard.pixels.empty(end - first)
        classes = shard.classes.empty(end - first)
        batch = Batch(shard, first, pixels, classes, os.getpid(), [])
        for file, offset, tensor in batch.parts():
            reader = self._reader(file.key)
            reader.seek(offset)
            fill(reader, tensor)
        batch.stats = [reader.stats() for reader in self._readers.values()]
        return batch

    def _reader(self, key: str) -> S3Reader:
        if key not in self._readers:
            # No buffer: in a random order each range is wanted as it is, and nothing around it.
            self._readers[key] = self._client.get_object(
                BUCKET, key, reader_constructor=S3ReaderConstructor.range_based(buffer_size=0)
            )
        return self._readers[key]


def fill(reader: S3Reader, tensor: torch.Tensor) -> None:
    """Read into the memory of `tensor` until it is full."""
    wanted = tensor.nbytes
    memory: Any = tensor.numpy()  # numpy's types say that it is a buffer from Python 3.12 on
    read = reader.readinto(memory)
    if read != wanted:
        raise EOFError(f"{reader.key}: {read} of {wanted} bytes")


def loader(batches: Batches) -> DataLoader[Batch]:
    """Batches in a random order, read by worker processes that stay from epoch to epoch."""
    return DataLoader(
        batches, batch_size=None, shuffle=True, num_workers=WORKERS, persistent_workers=True
    )


def read_held_out(client: S3Client, shard: Shard, stage: Stage) -> Batch:
    """Read a whole shard, batch by batch, with the reader made for lists of known ranges."""
    rows = shard.pixels.shape[0]
    pixels, classes = shard.pixels.empty(rows), shard.classes.empty(rows)
    batch = Batch(shard, 0, pixels, classes, os.getpid(), [])
    for file, _, tensor in batch.parts():
        firsts = range(0, rows, BATCH_ROWS)
        ranges = [ItemRange(*file.rows(at, min(at + BATCH_ROWS, rows))) for at in firsts]
        with client.get_object(
            BUCKET, file.key, reader_constructor=partial(DCPOptimizedS3Reader, item_ranges=ranges)
        ) as reader:
            for item, at in zip(ranges, firsts, strict=True):
                reader.seek(item.start)
                fill(reader, tensor[at : at + BATCH_ROWS])
            stage.count(reader.stats())
    return batch


class Classifier:
    """A small network over 8x8 pixels, and its training."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        self._optimizer = torch.optim.Adam(self.network.parameters(), LEARNING_RATE)
        self._loss = nn.CrossEntropyLoss()

    def learn(self, batch: Batch) -> None:
        self._optimizer.zero_grad()
        self._loss(self.network(batch.pixels), batch.classes).backward()
        self._optimizer.step()

    @torch.no_grad()
    def accuracy(self, batch: Batch) -> float:
        """The share of a batch that is classified right."""
        guesses = self.network(batch.pixels).argmax(1)
        return float((guesses == batch.classes).float().mean())
