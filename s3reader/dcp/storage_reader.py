"""The storage reader: torch's ``FileSystemReader`` with its files in S3."""

from __future__ import annotations

import os
import pickle
from typing import Any

from s3reader.client import S3Client
from s3reader.config import S3ClientConfig
from s3reader.constructor import S3ReaderConstructor
from s3reader.protocol import DCPS3ReaderConstructorProtocol, S3ReaderConstructorProtocol

from ._torch import FileSystemReader, LoadPlan, Metadata
from .errors import CheckpointCorruptError, naming
from .filesystem import S3FileSystem
from .paths import as_uri, split_uri


class S3StorageReader(FileSystemReader):
    """Loads a checkpoint that torch's ``FileSystemWriter`` wrote, from S3.

    Making one sends no request.

    Args:
        region: of the bucket; by default where AWS users have it.
        path: ``s3://bucket/prefix`` of the checkpoint.
        s3client_config: settings; see `S3ClientConfig`.
        reader_constructor: from `S3ReaderConstructor`; ``dcp_optimized()`` by default.
        client: to share; by default one is made from the other arguments.
        endpoint: URL of another S3.
        _extension_registry: torch's, as its own reader takes it.

    Raises:
        ValueError: the path is no URI of S3.
        TypeError: settings are given together with a client, which has its own.
    """

    fs: S3FileSystem  # type: ignore[assignment]
    path: str

    def __init__(
        self,
        region: str | None,
        path: str | os.PathLike[str],
        s3client_config: S3ClientConfig | None = None,
        reader_constructor: S3ReaderConstructorProtocol | None = None,
        *,
        client: S3Client | None = None,
        endpoint: str | None = None,
        _extension_registry: Any = None,
    ) -> None:
        split_uri(path)
        extensions = () if _extension_registry is None else (_extension_registry,)
        super().__init__(as_uri(path), *extensions)
        self._constructor = reader_constructor or S3ReaderConstructor.dcp_optimized()
        self.fs = S3FileSystem(
            region, client, s3client_config, self._constructor, endpoint=endpoint
        )
        self.path = self.fs.init_path(path)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Whether it names a place in S3."""
        return S3FileSystem.validate_checkpoint_id(checkpoint_id)

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Forget what was read; with a ``checkpoint_id``, load that one next.

        Raises:
            ValueError: it is no URI of S3.
        """
        if checkpoint_id:
            split_uri(checkpoint_id)
        super().reset(checkpoint_id)

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """What the checkpoint holds and where; torch's own pickle, see docs/CHECKPOINTS.md.

        Raises:
            S3Exception: there is none, or it could not be had.
            CheckpointCorruptError: it cannot be read.
        """
        with naming(
            f"the metadata of checkpoint {self.path}",
            "A checkpoint is complete once its .metadata is there: check the path, and that "
            "saving and uploading had finished.",
        ):
            try:
                return super().read_metadata(*args, **kwargs)
            except (
                pickle.UnpicklingError, EOFError, AttributeError, ImportError, LookupError,
                TypeError, ValueError, MemoryError,
            ) as error:  # fmt: skip
                bucket, key = split_uri(self.path)
                raise CheckpointCorruptError(
                    f"it is damaged, or of a torch that this one cannot read "
                    f"({type(error).__name__}: {error}).",
                    bucket=bucket,
                    key=key,
                ) from error

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        """Put the plan's items in the order of the files' bytes and tell the constructor.

        Returns:
            The same plan; its list of items was sorted in place.
        """
        stored = self.storage_data

        def place(item: Any) -> tuple[str, int]:
            info = stored[item.storage_index]
            return info.relative_path, info.offset

        plan.items.sort(key=place)
        if isinstance(self._constructor, DCPS3ReaderConstructorProtocol):
            self._constructor.set_item_ranges_by_file(plan.items, stored, self.path)
        return plan
