"""A dataset of objects read by the batch, as one writes it over s3reader. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from contenders.own import read_many


class Objects(torch.utils.data.Dataset[Any]):
    """Objects of one size; a batch is one tensor, a row an object."""

    def __init__(self, client: Any, bucket: str, keys: Sequence[str], size: int) -> None:
        self._client = client
        self._bucket = bucket
        self._keys = keys
        self._size = size

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> Any:
        batch = new_batch(len(indices) * self._size).view(len(indices), self._size)
        keys = [self._keys[index] for index in indices]
        read_many(self._client, self._bucket, keys, batch.numpy())
        return batch


def new_batch(size: int) -> torch.Tensor:
    """Bytes that a worker can hand over as they are: made as torch's own `default_collate` does."""
    batch = torch.empty(0, dtype=torch.uint8)
    if torch.utils.data.get_worker_info() is None:
        return batch.resize_(size)
    return batch.set_(torch.UntypedStorage._new_shared(size))
