"""Distributed checkpoints of torch, loaded from S3.

Example::

    import torch.distributed.checkpoint as dcp
    from s3reader.dcp import S3StorageReader

    dcp.load(state, storage_reader=S3StorageReader("eu-central-1", "s3://bucket/run/step-1000"))
"""

import importlib
from typing import TYPE_CHECKING, Any

import torch

from . import _torch
from .errors import CheckpointCorruptError
from .filesystem import S3FileSystem
from .storage_reader import S3StorageReader

if TYPE_CHECKING:
    from .huggingface import S3HuggingFaceStorageReader as S3HuggingFaceStorageReader
    from .quantized import (
        S3QuantizedHuggingFaceStorageReader as S3QuantizedHuggingFaceStorageReader,
    )

__all__ = ["CheckpointCorruptError", "S3FileSystem", "S3StorageReader"]

_FOR_SAFETENSORS = {
    "S3HuggingFaceStorageReader": ("huggingface", "HuggingFaceStorageReader"),
    "S3QuantizedHuggingFaceStorageReader": ("quantized", "QuantizedHuggingFaceStorageReader"),
}
"""Readers that are imported when asked for: their module, and the class of torch that they are."""


def __getattr__(name: str) -> Any:
    if name not in _FOR_SAFETENSORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, base = _FOR_SAFETENSORS[name]
    if getattr(_torch, base) is None:
        raise ImportError(
            f"{name} is torch's {base} with its files in S3, and torch {torch.__version__} does "
            "not have that class: install a newer torch."
        )
    return getattr(importlib.import_module(f".{module}", __name__), name)
