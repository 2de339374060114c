"""The storage reader for checkpoints in the safetensors format, the shape of Hugging Face's.

It is torch's ``HuggingFaceStorageReader`` with its files in S3: metadata comes from the files'
headers, and a tensor's bytes go straight into its memory as those of other checkpoints do, without
the archive around them. A rank that wants some rows of a tensor fetches those rows. The format
has no checksums, so nothing but lengths and versions can be verified.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch

from s3reader.config import S3ClientConfig
from s3reader.results import ObjectInfo

from ._torch import (
    ChunkStorageMetadata,
    HuggingFaceStorageReader,
    Metadata,
    MetadataIndex,
    ReadItem,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from .collector import resting_collector, tenure
from .errors import naming
from .items import Entry, bare_entries_of
from .paths import split_uri
from .safetensors_files import StoredTensor, find_files, read_headers
from .storage_reader import S3StorageReader


class S3HuggingFaceStorageReader(S3StorageReader, HuggingFaceStorageReader):  # type: ignore[misc]
    """Loads a checkpoint of safetensors files from S3, as torch's reader does from a folder.

    The files are those that ``model.safetensors.index.json`` names, or, without one, all that lie
    directly below the path. Consolidated files and the shards that torch's
    ``HuggingFaceStorageWriter`` writes with ``save_distributed=True`` both load, on any number of
    ranks. Making a reader sends no request.

    Args:
        region: of the bucket; by default where AWS users have it.
        path: ``s3://bucket/prefix`` of the checkpoint.
        s3client_config: settings; see `S3ClientConfig`.
        options: ``reader_constructor``, ``client``, ``endpoint``, ``progress`` and ``cooperative``
            as `S3StorageReader` takes them.

    Raises:
        ValueError: the path is no URI of S3.
        TypeError: a reader constructor that is not ``dcp_optimized()``.
    """

    def __init__(
        self,
        region: str | None,
        path: str | os.PathLike[str],
        s3client_config: S3ClientConfig | None = None,
        **options: Any,
    ) -> None:
        super().__init__(region, path, s3client_config, **options)
        if not self._direct:
            raise TypeError(
                "safetensors files are read with "
                "reader_constructor=S3ReaderConstructor.dcp_optimized(), the default"
            )
        self._files: dict[str, ObjectInfo] = {}

    def read_metadata(self) -> Metadata:
        """What the files' headers tell. There is none of a single rank's.

        Raises:
            S3Exception: there are no files, or they could not be had.
            CheckpointCorruptError: one is not what it should be.
        """
        bucket, prefix = split_uri(self.path)
        with naming(
            f"the headers of checkpoint {self.path}",
            "Check the path, and that all files were uploaded.",
        ):
            self._files = find_files(self.fs.client, bucket, prefix)
            self._sources = {}
            sources = {file: self._source(file) for file in self._files}
            with resting_collector():
                metadata = metadata_of(read_headers(sources))
                tenure()
        metadata.storage_meta = StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata

    def _object_info(self, file: str) -> ObjectInfo | None:
        return self._files.get(file)

    def _entries_of(self, items: Iterable[ReadItem]) -> list[Entry]:
        return bare_entries_of(items, self.storage_data)


def metadata_of(tensors: Iterable[StoredTensor]) -> Metadata:
    """Torch's metadata of stored tensors; a shard that several files have is taken from one."""
    described: dict[str, TensorStorageMetadata] = {}
    stored: dict[MetadataIndex, StoredTensor] = {}
    for tensor in tensors:
        index = MetadataIndex(fqn=tensor.name, offset=torch.Size(tensor.saved_offsets))
        if index in stored:
            continue
        stored[index] = tensor
        ends = [a + b for a, b in zip(tensor.saved_offsets, tensor.shape, strict=True)]
        whole = described.get(tensor.name)
        if whole is None:
            whole = described[tensor.name] = TensorStorageMetadata(
                TensorProperties(dtype=tensor.dtype), torch.Size(ends), []
            )
        else:
            whole.size = torch.Size(map(max, zip(whole.size, ends, strict=True)))
        whole.chunks.append(
            ChunkStorageMetadata(torch.Size(tensor.saved_offsets), torch.Size(tensor.shape))
        )
    return Metadata(state_dict_metadata=described, storage_data=stored)  # type: ignore[arg-type]
