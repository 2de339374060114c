"""Distributed checkpoints of torch, loaded from S3.

Example::

    import torch.distributed.checkpoint as dcp
    from s3reader.dcp import S3StorageReader

    dcp.load(state, storage_reader=S3StorageReader("eu-central-1", "s3://bucket/run/step-1000"))
"""

from .errors import CheckpointCorruptError
from .filesystem import S3FileSystem
from .storage_reader import S3StorageReader

__all__ = ["CheckpointCorruptError", "S3FileSystem", "S3StorageReader"]
