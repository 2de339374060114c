"""The storage reader: torch's ``FileSystemReader`` with its files in S3."""

from __future__ import annotations

import logging
import os
import pickle
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from torch.futures import Future

from s3reader.client import S3Client
from s3reader.config import S3ClientConfig
from s3reader.constructor import DCPOptimizedConstructor, S3ReaderConstructor
from s3reader.protocol import DCPS3ReaderConstructorProtocol, S3ReaderConstructorProtocol
from s3reader.source import ObjectSource

from ._torch import FileSystemReader, LoadPlan, LoadPlanner, Metadata
from .errors import CheckpointCorruptError, naming
from .filesystem import S3FileSystem
from .items import Unplannable, entries_of, gap_size, parts_of
from .load import Loader
from .paths import as_uri, split_uri

_log = logging.getLogger("s3reader")


class S3StorageReader(FileSystemReader):
    """Loads a checkpoint that torch's ``FileSystemWriter`` wrote, from S3.

    Making one sends no request.

    Args:
        region: of the bucket; by default where AWS users have it.
        path: ``s3://bucket/prefix`` of the checkpoint.
        s3client_config: settings; see `S3ClientConfig`.
        reader_constructor: from `S3ReaderConstructor`; ``dcp_optimized()`` by default, which puts
            bytes straight into tensors. With any other, torch reads each item through a reader.
        client: to share; by default one is made from the other arguments.
        endpoint: URL of another S3.
        verify: compare the checksums that torch saved with each tensor's bytes.
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
        verify: bool = True,
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
        self._verify = verify
        self._metadata: Metadata | None = None
        self._counts: Counter[str] = Counter()

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
        self._metadata = None

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

    def set_up_storage_reader(
        self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any
    ) -> None:
        """Take what the metadata tells about the checkpoint's files."""
        super().set_up_storage_reader(metadata, is_coordinator, *args, **kwargs)
        self._metadata = metadata

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

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Load the plan's items into the planner's tensors.

        Raises:
            S3Exception: bytes could not be had, or are not what was saved. The message names the
                checkpoint, the file and the items.
        """
        if type(self._constructor) is not DCPOptimizedConstructor or self._metadata is None:
            with naming(f"checkpoint {self.path}"):
                return super().read_data(plan, planner)
        try:
            entries = entries_of(plan.items, self.storage_data, self._metadata)
        except Unplannable as reason:
            _log.warning("checkpoint %s is read item by item: %s", self.path, reason)
            self._constructor.set_item_ranges_by_file(plan.items, self.storage_data, self.path)
            with naming(f"checkpoint {self.path}"):
                return super().read_data(plan, planner)
        session = self.fs.client._session
        sources: dict[str, ObjectSource] = {}

        def source_of(file: str) -> ObjectSource:
            if file not in sources:
                sources[file] = self._source(file)
            return sources[file]

        gap = gap_size(self._constructor._max_gap_size)
        parts, wasted = parts_of(entries, gap, session.config.part_size, source_of)
        loader = Loader(self.path, session, planner, self.transforms, verify=self._verify)
        try:
            loader.run(parts, [entry for entry in entries if not entry.length])
        finally:
            self._counts.update(loader.counts)
        self._counts["gap_bytes"] += wasted
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def stats(self) -> dict[str, Any]:
        """The client's counts, and since this reader was made: ``items`` that were loaded, of
        those ``direct_items`` whose bytes went straight into their tensors, ``moved_items`` that
        were then shifted into place, ``unusual_items`` that torch had to read; ``bytes_verified``
        by checksum; ``gap_bytes`` that were fetched between items and not needed.
        """
        names = "items direct_items moved_items unusual_items bytes_verified gap_bytes".split()
        return self.fs.client.stats() | {name: self._counts[name] for name in names}

    def _source(self, file: str) -> ObjectSource:
        bucket, key = split_uri(self.fs.concat_path(self.path, file))
        take: Any = _the_source
        return cast(ObjectSource, self.fs.client.get_object(bucket, key, reader_constructor=take))


def _the_source(*, get_stream: Callable[..., Any], **_: Any) -> Any:
    """A reader constructor that gives the source itself."""
    return get_stream
