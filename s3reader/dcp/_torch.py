"""Every name of torch's checkpoint package that this one uses; no other module imports them.

Most are public by use rather than by promise: torch moves them between releases, and then this is
the file to change. Written for torch 2.6 and what came after.
"""

from __future__ import annotations

from typing import Any

from torch.distributed.checkpoint.filesystem import FileSystemBase, FileSystemReader
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadItemType, LoadPlan, LoadPlanner, ReadItem

HuggingFaceStorageReader: Any
QuantizedHuggingFaceStorageReader: Any
try:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
except ImportError:  # not in older ones
    HuggingFaceStorageReader = None
try:
    from torch.distributed.checkpoint.quantized_hf_storage import QuantizedHuggingFaceStorageReader
except ImportError:  # not in older ones
    QuantizedHuggingFaceStorageReader = None

__all__ = [
    "ChunkStorageMetadata",
    "FileSystemBase",
    "FileSystemReader",
    "HuggingFaceStorageReader",
    "LoadItemType",
    "LoadPlan",
    "LoadPlanner",
    "Metadata",
    "MetadataIndex",
    "QuantizedHuggingFaceStorageReader",
    "ReadItem",
    "StorageMeta",
    "TensorProperties",
    "TensorStorageMetadata",
]
