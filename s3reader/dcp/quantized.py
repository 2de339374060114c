"""The storage reader for quantized safetensors checkpoints, which torch's own class dequantizes.

Torch's class reads slices of an open file and the scales that belong to them. Here the file is S3:
`_Tensors` gives it the rows that it asks for. Nothing is kept between two tensors, so the memory
beside the state is that of one.
"""

from __future__ import annotations

import dataclasses
import os
from contextlib import closing
from typing import Any

import torch
from torch.futures import Future

from s3reader.config import S3ClientConfig

from ._torch import LoadPlan, LoadPlanner, Metadata, QuantizedHuggingFaceStorageReader
from .errors import naming
from .huggingface import S3HuggingFaceStorageReader
from .safetensors_files import StoredTensor


class S3QuantizedHuggingFaceStorageReader(
    QuantizedHuggingFaceStorageReader,  # type: ignore[misc]
    S3HuggingFaceStorageReader,
):
    """The same for quantized checkpoints, which torch dequantizes: one tensor after the other.

    Tensors that are not quantized take the direct way.

    Args:
        region, path, s3client_config, options: as `S3HuggingFaceStorageReader` takes them, without
            ``cooperative``.
        target_dtype: of what is dequantized.
        block_size: elements that share a scale, in each dimension.
    """

    def __init__(
        self,
        region: str | None,
        path: str | os.PathLike[str],
        s3client_config: S3ClientConfig | None = None,
        *,
        target_dtype: torch.dtype = torch.float32,
        block_size: int = 128,
        **options: Any,
    ) -> None:
        if options.get("cooperative"):
            raise TypeError("quantized checkpoints are not read cooperatively")
        S3HuggingFaceStorageReader.__init__(self, region, path, s3client_config, **options)
        # What torch's class sets in its own constructor, which takes a folder.
        self.target_dtype = target_dtype
        self.block_size = block_size
        self._weight_scale_mapping: dict[str, str] = {}
        self._weight_map: dict[str, str] = {}
        self._tensor_full_shapes: dict[str, torch.Size] = {}
        self._whole: dict[str, StoredTensor] = {}

    def read_metadata(self) -> Metadata:
        """What the files' headers tell, with the sizes of what will be dequantized."""
        metadata: Metadata = super().read_metadata()
        return metadata

    def set_up_storage_reader(
        self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any
    ) -> None:
        """Take what the metadata tells about the checkpoint's files."""
        super().set_up_storage_reader(metadata, is_coordinator, *args, **kwargs)
        self._whole = {index.fqn: info for index, info in self.storage_data.items()}
        # One "file" for all tensors: they are read through `_Tensors`, whatever file has them.
        self._build_weight_scale_mapping(dict.fromkeys(self._whole, ""))

    def _load_quantization_metadata(self) -> None:
        """Nothing: `set_up_storage_reader` finds the scales among the files' tensors."""

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Load the plan's items into the planner's tensors.

        Raises:
            S3Exception: bytes could not be had.
        """
        scaled = [i for i in plan.items if self._is_tensor_quantized(i.storage_index.fqn)]
        others = [i for i in plan.items if not self._is_tensor_quantized(i.storage_index.fqn)]
        done = S3HuggingFaceStorageReader.read_data(
            self, dataclasses.replace(plan, items=others), planner
        )
        for item in scaled:
            name = item.storage_index.fqn
            file = self._whole[name].relative_path
            with naming(f"{name!r} from {file} of checkpoint {self.path}"):
                self._process_read_request(_Tensors(self), item, planner)
        return done

    def read_rows(self, name: str, first: int, last: int) -> torch.Tensor:
        """Rows ``[first, last)`` of a stored tensor."""
        stored = self._whole[name]
        shape = (last - first, *stored.shape[1:]) if stored.shape else ()
        row = stored.length // max(1, stored.shape[0]) if stored.shape else stored.length
        source = self._source(stored.relative_path)
        data = bytearray(row * (last - first))
        if not data:
            return torch.empty(shape, dtype=stored.dtype)
        start = stored.offset + row * first
        with closing(source(start, start + len(data))) as stream:
            stream.readinto(data)
        return torch.frombuffer(data, dtype=stored.dtype).view(shape)


class _Tensors:
    """What torch reads of an open safetensors file."""

    def __init__(self, reader: S3QuantizedHuggingFaceStorageReader) -> None:
        self._reader = reader

    def get_tensor(self, name: str) -> torch.Tensor:
        shape = self._reader._whole[name].shape
        return self._reader.read_rows(name, 0, shape[0] if shape else 1)

    def get_slice(self, name: str) -> _Slice:
        return _Slice(self._reader, name)


class _Slice:
    def __init__(self, reader: S3QuantizedHuggingFaceStorageReader, name: str) -> None:
        self._reader = reader
        self._name = name

    def __getitem__(self, slices: tuple[slice, ...]) -> torch.Tensor:
        first, last, _ = slices[0].indices(self._reader._whole[self._name].shape[0])
        return self._reader.read_rows(self._name, first, last)[(slice(None), *slices[1:])]
