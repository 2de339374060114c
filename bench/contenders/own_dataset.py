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
        batch = torch.empty(len(indices), self._size, dtype=torch.uint8)
        if torch.utils.data.get_worker_info() is not None:
            # Else the worker would copy it there to hand it over.
            batch = batch.share_memory_()  # type: ignore[no-untyped-call]
        keys = [self._keys[index] for index in indices]
        read_many(self._client, self._bucket, keys, batch.numpy())
        return batch
