"""Every name of torch's checkpoint package that this one uses; no other module imports them.

Most are public by use rather than by promise: torch moves them between releases, and then this is
the file to change. Written for torch 2.6 and what came after.
"""

from __future__ import annotations

from torch.distributed.checkpoint.filesystem import FileSystemBase, FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.planner import LoadItemType, LoadPlan, LoadPlanner, ReadItem

__all__ = [
    "FileSystemBase",
    "FileSystemReader",
    "LoadItemType",
    "LoadPlan",
    "LoadPlanner",
    "Metadata",
    "ReadItem",
    "TensorStorageMetadata",
]
