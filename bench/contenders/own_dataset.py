"""A dataset of objects read by the batch, as one writes it over s3reader. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
import torch

from contenders.own import read_many
from s3reader.loader import shared_copy


class Objects(torch.utils.data.Dataset[Any]):
    """Objects of one size; a batch is one tensor, a row an object."""

    def __init__(self, client: Any, bucket: str, keys: Sequence[str], size: int) -> None:
        self._client = client
        self._bucket = bucket
        self._keys = keys
        self._rows = numpy.empty((0, size), numpy.uint8)  # every batch is read into these

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> Any:
        if len(self._rows) < len(indices):
            self._rows = numpy.empty((len(indices), self._rows.shape[1]), numpy.uint8)
        rows = self._rows[: len(indices)]
        read_many(self._client, self._bucket, [self._keys[index] for index in indices], rows)
        return shared_copy(rows)
