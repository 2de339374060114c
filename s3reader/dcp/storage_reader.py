"""The storage reader: torch's ``FileSystemReader`` with its files in S3."""

from __future__ import annotations

import dataclasses
import logging
import os
import pickle
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import suppress
from typing import Any

import torch.distributed as dist
from torch.futures import Future

from s3reader.client import S3Client
from s3reader.config import S3ClientConfig
from s3reader.constructor import DCPOptimizedConstructor, S3ReaderConstructor
from s3reader.errors import ObjectChangedError
from s3reader.protocol import DCPS3ReaderConstructorProtocol, S3ReaderConstructorProtocol
from s3reader.results import ObjectInfo
from s3reader.source import ObjectSource

from ._torch import FileSystemReader, LoadPlan, LoadPlanner, Metadata, ReadItem
from .collector import resting_collector, tenure
from .cooperate import Group, Place, Sharing, declined_by, in_shared_memory, place_of, share_out
from .errors import CheckpointCorruptError, advice_for, in_checkpoint, naming
from .filesystem import S3FileSystem
from .items import DEFAULT_GAP, Entry, Unplannable, entries_of, parts_of
from .load import Loader
from .paths import as_uri, split_uri
from .progress import Bar, Report

_log = logging.getLogger("s3reader")


class S3StorageReader(FileSystemReader):
    """Loads a checkpoint that torch's ``FileSystemWriter`` wrote, from S3.

    Making one sends no request.

    Args:
        region: of the bucket; by default where AWS users have it.
        path: ``s3://bucket/prefix`` of the checkpoint.
        s3client_config: settings; see `S3ClientConfig`. By default its own, but for a
            ``throughput_target_gbps`` of 14, which makes 25 connections.
        reader_constructor: from `S3ReaderConstructor`; ``dcp_optimized()`` by default, which puts
            bytes straight into tensors. With any other, torch reads each item through a reader.
        client: to share; by default one is made from the other arguments.
        endpoint: URL of another S3.
        verify: compare the checksums that torch saved with each tensor's bytes.
        progress: show a bar on rank 0, or call a function there with the bytes that have arrived
            and all that will.
        cooperative: ranks that want the same bytes split the reading between them and exchange
            over their gloo process group: True for all ranks, or the group given to ``dcp.load``.
        _extension_registry: torch's, as its own reader takes it.

    Raises:
        ValueError: the path is no URI of S3.
        TypeError: settings are given together with a client, which has its own; or ranks are to
            cooperate with another constructor than ``dcp_optimized()``.
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
        progress: bool | Report = False,
        cooperative: bool | dist.ProcessGroup = False,
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
        self._direct = type(self._constructor) is DCPOptimizedConstructor
        if cooperative and not self._direct:
            raise TypeError(
                "cooperative takes reader_constructor=S3ReaderConstructor.dcp_optimized()"
            )
        self._verify = verify
        self._cooperative = cooperative
        self._alone = False  # whether this rank loads without the others
        self._report = Bar(f"loading {self.path}") if progress is True else progress or None
        self._there = self._total = 0  # bytes that have arrived, and that will
        self._metadata: Metadata | None = None
        self._counts: Counter[str] = Counter()
        self._sources: dict[str, ObjectSource] = {}

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
        self._alone = False

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
                with resting_collector():
                    metadata = super().read_metadata(*args, **kwargs)
                    tenure()
                    return metadata
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

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        """On the coordinator: share out what several ranks want, where they cooperate.

        Raises:
            ValueError: the ranks that load are not those of the process group.
        """
        self._alone = len(plans) == 1
        group = self._group()
        if group is None:
            return plans
        if group.size != len(plans):
            raise ValueError(
                f"{len(plans)} ranks load together, but the process group has {group.size}: pass "
                "the one that is given to dcp.load as S3StorageReader(..., cooperative=group)"
            )
        sharing = share_out([self._wanted(plan) for plan in plans])
        return [dataclasses.replace(plan, storage_data=sharing) for plan in plans]

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
        done: Future[None] = Future()
        # One load reads one version of each file; the next may find another.
        self._sources = {}
        self._there = self._total = 0
        if self._metadata is None or not self._direct:
            return self._read_by_torch(plan, planner)
        group = self._group()
        loader = Loader(
            self.path,
            self.fs.client._session,
            planner,
            getattr(self, "transforms", None),  # torch 2.6 has no extensions
            verify=self._verify,
            arrived=self._arrived,
        )
        entries: list[Entry] = []
        alone: set[Place] = set()
        reason: Exception | None = None
        try:
            with resting_collector():
                entries = self._entries_of(plan.items)
                alone = in_shared_memory(loader, entries) if group is not None else alone
                tenure()
        except Exception as error:  # the other ranks are told before it goes on its way
            reason = error
        sharing = plan.storage_data if isinstance(plan.storage_data, Sharing) else None
        if group is not None:
            sharing = group.agree(None if reason else sharing, entries, alone)
        if isinstance(reason, Unplannable):
            _log.warning("checkpoint %s is read item by item: %s", self.path, reason)
            return self._read_by_torch(plan, planner)
        if reason is not None:
            raise reason
        try:
            if group is not None and sharing is not None:
                self._read_together(loader, entries, group, sharing)
            else:
                self._read(loader, entries)
        finally:
            self._counts.update(loader.counts)
        done.set_result(None)
        return done

    def _wanted(self, plan: LoadPlan) -> list[Entry]:
        """What a rank wants; nothing where it will read by itself."""
        with suppress(Unplannable), resting_collector():
            return self._entries_of(plan.items)
        return []

    def _entries_of(self, items: Iterable[ReadItem]) -> list[Entry]:
        assert self._metadata is not None
        return entries_of(items, self.storage_data, self._metadata)

    def _read_by_torch(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        if isinstance(self._constructor, DCPS3ReaderConstructorProtocol):
            # The plan may have been changed since it was prepared.
            self._constructor.set_item_ranges_by_file(plan.items, self.storage_data, self.path)
        with naming(f"checkpoint {self.path}"):
            return super().read_data(plan, planner)

    def _read(
        self,
        loader: Loader,
        entries: list[Entry],
        keep: Container[Entry] = (),
        wanted: Sequence[Entry] | None = None,
    ) -> None:
        """Read entries; ``wanted`` are all that the rank wants, where others read some of them."""
        assert isinstance(self._constructor, DCPOptimizedConstructor)
        chosen = self._constructor._gap_is_chosen
        gap = self._constructor._max_gap_size if chosen else DEFAULT_GAP
        session = self.fs.client._session
        own = sum(entry.length for entry in entries)
        if wanted is None:
            part_size = session.part_size(own)
        else:
            total = sum(entry.length for entry in wanted)
            part_size = session.part_size(total, own=own)
        with resting_collector():
            parts, wasted = parts_of(entries, gap, part_size, self._source)
        self._total += sum(part.stop - part.start for part in parts)
        self._counts["gap_bytes"] += wasted
        self._arrived(0)
        loader.run(parts, [entry for entry in entries if not entry.length], keep)

    def _read_together(
        self, loader: Loader, entries: list[Entry], group: Group, sharing: Sharing
    ) -> None:
        """Read this rank's share, then exchange; what nobody could pass on, each reads itself."""
        owners = sharing.owners
        own = [e for e in entries if owners.get(place_of(e), group.rank) == group.rank]
        failure: BaseException | None = None
        try:
            self._read(loader, own, {e for e in own if place_of(e) in owners}, entries)
        except BaseException as error:
            failure = error
        versions = {file: source.etag for file, source in self._sources.items() if source.etag}
        with naming(f"checkpoint {self.path}"):
            declined, changed = group.settle(failure, declined_by(loader), versions)
        for file in sorted(changed):
            mixed = ObjectChangedError("ranks have read different versions of the file.")
            of_file = [entry for entry in entries if entry.file == file]
            raise in_checkpoint(mixed, loader.describe(of_file, file), advice_for(mixed))
        group.exchange(sharing, declined, loader, entries)
        for entry, kept in loader.kept.items():
            loader.commit(entry, kept)
        rest = [e for e in entries if place_of(e) in declined and owners[place_of(e)] != group.rank]
        self._read(loader, rest)

    def _group(self) -> Group | None:
        """The ranks that load together, if they do."""
        if not self._cooperative or self._alone:
            return None
        if not dist.is_available() or not dist.is_initialized():
            return None
        group = None if self._cooperative is True else self._cooperative
        found = Group(group)
        return found if found.size > 1 else None

    def _arrived(self, count: int) -> None:
        self._there += count
        rank: int | None = getattr(self, "rank", None)  # torch 2.6 does not tell
        if rank is None:
            rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
        if self._report is not None and rank == 0 and self._total:
            self._report(self._there, self._total)

    def stats(self) -> dict[str, Any]:
        """The client's counts, and since this reader was made: ``items`` that were loaded, of
        those ``direct_items`` whose bytes went straight into their tensors, ``moved_items`` that
        were then shifted into place, ``unusual_items`` that torch had to read; ``bytes_verified``
        by checksum; ``gap_bytes`` that were fetched between items and not needed.
        """
        names = "items direct_items moved_items unusual_items bytes_verified gap_bytes".split()
        return self.fs.client.stats() | {name: self._counts[name] for name in names}

    def _source(self, file: str) -> ObjectSource:
        source = self._sources.get(file)
        if source is None:
            bucket, key = split_uri(self.fs.concat_path(self.path, file))
            take: Any = _the_source
            made: Any = self.fs.client.get_object(
                bucket, key, object_info=self._object_info(file), reader_constructor=take
            )
            source = self._sources[file] = made
        return source

    def _object_info(self, file: str) -> ObjectInfo | None:
        """What is known of a file's version before it is read."""
        return None


def _the_source(*, get_stream: Callable[..., Any], **_: Any) -> Any:
    """A reader constructor that gives the source itself."""
    return get_stream
