"""The direct path: a plan's bytes from S3 into its tensors, without torch.load in between.

Parts of all files are fetched together (see `s3reader.gather`). Before a part is sent, the targets
of its items are asked from the planner and become its places; while bytes arrive their checksum is
taken, and when an item's last byte is there, the checksums are compared, its header is read, and it
is committed. What is not a plain tensor in plain memory takes the smallest detour: bytes beside the
target and one copy; and what torch did not write in its usual form is read by torch, from the same
bytes.
"""

from __future__ import annotations

import io
import pickle
from bisect import bisect_right
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch

from s3reader._ext.archive import Damaged, Record, Unusual, read_directory, verify
from s3reader._ext.landing import Landing, scatter
from s3reader.errors import S3Exception
from s3reader.gather import Part, gather

from ._torch import LoadItemType, LoadPlanner
from .collector import resting_collector
from .errors import CheckpointCorruptError, advice_for, in_checkpoint
from .items import Entry, tensor_requests
from .landing import LARGEST_MARGIN, USUAL_DATA_START, Claims, crc32, span, takes_all
from .tensor_header import TensorHeader, read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from s3reader._ext.scatter import Scatter
    from s3reader.session import Session

_BYTE_ORDER = b"little"

_stop = attrgetter("stop")

_MOST_HEADERS = 4096
"""Descriptions of tensors that are remembered: a checkpoint has few different ones."""


@dataclass
class Kept:
    """What was loaded and not committed: filled targets, or bytes."""

    targets: list[torch.Tensor]
    data: bytes


class Loader:
    """Loads entries once.

    Args:
        path: URI of the checkpoint, for messages.
        session: of the client.
        planner: gives the targets and is told what was loaded.
        transforms: torch's, undoes stream extensions.
        verify: whether to compare the checksums of records.
        arrived: called with the number of bytes that came.
    """

    def __init__(
        self,
        path: str,
        session: Session,
        planner: LoadPlanner,
        transforms: Any,
        *,
        verify: bool,
        arrived: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.kept: dict[Entry, Kept] = {}
        self._path = path
        self._session = session
        self._planner = planner
        self._transforms = transforms
        self._verify = verify
        self._arrived = arrived
        self._claims = Claims()
        self._landed: dict[Entry, None] = {}  # what has memory, in the plan's order
        self._complete: set[Entry] = set()  # of those what has arrived before its turn
        self._current: Entry | None = None  # what is settled, for messages
        self._starts: dict[Any, int] = {}  # where the bytes of such a tensor began last
        self._headers: dict[bytes, TensorHeader] = {}

    def run(
        self,
        parts: Sequence[Part],
        empty: Sequence[Entry] = (),
        keep: Container[Entry] = (),
    ) -> None:
        """Fetch the parts and load the entries in them.

        Args:
            parts: what is fetched, with the entries as items.
            empty: entries that have no bytes.
            keep: entries that are put in ``kept`` and not committed yet.

        Raises:
            S3Exception: bytes could not be had, or are not what was saved.
        """
        self._keep = keep
        self._current = None
        try:
            for entry in empty:
                self._land(entry)
                self._settle(entry)
            with closing(gather(self._session, parts, self._place)) as arriving:
                for part, start, stop in arriving:
                    with resting_collector():
                        self._take(part, start, stop)
                    self._arrived(stop - start)
        except S3Exception as error:
            failed: Part | None = getattr(error, "part", None)
            settled: list[Entry] = [] if self._current is None else [self._current]
            entries = settled if failed is None else failed.items
            raise in_checkpoint(error, self.describe(entries), advice_for(error)) from error
        finally:
            for part in parts:
                for entry in part.items:
                    self._release(entry)

    def _release(self, entry: Entry) -> None:
        if entry.landing is not None:
            count = entry.landing.length
            if entry.direct is not None:
                count -= entry.landing.stop - entry.landing.start
            self._session.budget.give(count)
            self._clear(entry)
        entry.targets = None

    def describe(self, entries: Sequence[Entry], file: str = "a file") -> str:
        """Some of the entries' names, their file and the checkpoint."""
        names = list(
            dict.fromkeys(request.dest_index.fqn for e in entries for request in e.requests)
        )
        shown = ", ".join(repr(name) for name in names[:3])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        file = entries[0].file if entries else file
        return f"{shown}{more} from {file} of checkpoint {self._path}"

    # Before a part is sent.

    def _place(self, part: Part, alone: bool) -> Scatter | None:
        with resting_collector():
            new = [entry for entry in part.items if entry.landing is None]
            # Counted before any byte arrives: the pages of memory that is not written cost nothing.
            count = sum(self._land(entry) for entry in new)
            if not self._session.budget.take(count, alone):
                for entry in new:
                    self._clear(entry)
                return None
            return scatter([entry.landing for entry in part.items])

    def _land(self, entry: Entry) -> int:
        """Give an entry memory; how much beside its targets."""
        targets = self._targets_of(entry)
        alone = True
        for target in targets:
            alone = self._claims.add(*span(target)) and alone
        self._landed[entry] = None
        entry.missing, entry.in_turn = entry.length, not alone
        if alone and entry.stored is not None and not entry.transforms:
            dtype, sizes = entry.stored
            start = 0 if entry.bare else self._starts.get((dtype, len(sizes)), USUAL_DATA_START)
            for target, request in zip(targets, entry.requests, strict=True):
                count = target.nbytes
                beside = entry.length - count
                if start <= beside <= LARGEST_MARGIN and takes_all(target, dtype, sizes, request):
                    entry.direct = target
                    entry.landing = Landing(
                        entry.start, entry.length, start, count, target.data_ptr(), target
                    )
                    return beside
        entry.beside = torch.empty(entry.length, dtype=torch.uint8)
        address = entry.beside.data_ptr()
        entry.landing = Landing(entry.start, entry.length, 0, entry.length, address, entry.beside)
        return entry.length

    def _targets_of(self, entry: Entry) -> list[torch.Tensor]:
        """The targets of a tensor's requests; asked once."""
        if entry.targets is None:
            entry.targets = self.resolve(entry)
        return entry.targets

    def _clear(self, entry: Entry) -> None:
        """Let go of an entry's memory; its targets are kept."""
        if entry.landing is not None:
            for target in entry.targets or ():
                self._claims.remove(*span(target))
            del self._landed[entry]
        entry.landing = entry.direct = entry.beside = None

    # When bytes have arrived.

    def _take(self, part: Part, start: int, stop: int) -> None:
        """Take note of bytes ``[start, stop)`` of a part; settle what is complete by that."""
        items: list[Entry] = part.items
        for index in range(bisect_right(items, start, key=_stop), len(items)):
            entry = items[index]
            begin, end = max(start, entry.start), min(stop, entry.stop)
            if begin >= end:
                return
            entry.missing -= end - begin
            if entry.missing:
                if self._verify and not entry.bare:
                    _landing(entry).sum(begin - entry.start, end - entry.start, crc32)
            elif entry.in_turn:
                self._complete.add(entry)
            else:
                self._settle(entry)
            while self._complete and (first := next(iter(self._landed))) in self._complete:
                self._complete.remove(first)
                self._settle(first)

    def _settle(self, entry: Entry) -> None:
        self._current = entry
        self.counts["items"] += 1
        targets = self._targets_of(entry)
        kept = Kept(targets, b"") if entry in self._keep else None
        if entry.transforms or not targets:
            self._load_stream(entry, targets, kept)
        else:
            stored = self._stored_tensor(entry)
            if stored is entry.direct:
                self.counts["direct_items"] += 1
            if kept is None and stored is entry.direct and len(entry.requests) == 1:
                self._planner.commit_tensor(entry.requests[0], stored)  # nothing to copy
            else:
                self.fill(entry, targets, stored, commit=kept is None)
        if kept is not None:
            self.kept[entry] = kept
        self._release(entry)

    def fill(
        self, entry: Entry, targets: Sequence[torch.Tensor], stored: torch.Tensor, *, commit: bool
    ) -> None:
        """Put what is wanted of the stored tensor into each target that is not that tensor."""
        for request, target in zip(tensor_requests(entry), targets, strict=True):
            if target is not stored:
                wanted = stored
                for dimension, (offset, length) in enumerate(
                    zip(request.storage_offsets, request.lengths, strict=True)
                ):
                    if wanted.size(dimension) != length:
                        wanted = wanted.narrow(dimension, offset, length)
                if target.size() != wanted.size():
                    raise AssertionError(
                        f"req {request.storage_index} mismatch sizes {target.size()} vs "
                        f"{wanted.size()}"
                    )
                target.copy_(wanted)
            if commit:
                self._planner.commit_tensor(request, target)

    def commit(self, entry: Entry, kept: Kept) -> None:
        """Tell the planner about an entry that was kept."""
        for request, target in zip(tensor_requests(entry), kept.targets, strict=True):
            self._planner.commit_tensor(request, target)
        if not kept.targets:
            self.load_bytes(entry, kept.data)

    def load_bytes(self, entry: Entry, data: bytes) -> None:
        """Give the planner the bytes that it saved."""
        for request in entry.requests:
            try:
                self._planner.load_bytes(request, io.BytesIO(data))
            except (RuntimeError, UnicodeDecodeError, pickle.UnpicklingError, EOFError) as error:
                raise CheckpointCorruptError(
                    f"the planner cannot load it ({type(error).__name__}: {error})."
                ) from error

    def resolve(self, entry: Entry) -> list[torch.Tensor]:
        """The targets of an entry that another rank reads."""
        return [
            self._planner.resolve_tensor(request).detach() for request in tensor_requests(entry)
        ]

    def _load_stream(self, entry: Entry, targets: list[torch.Tensor], kept: Kept | None) -> None:
        """Bytes for the planner, and whatever a stream extension has changed."""
        landing = _landing(entry)
        data = landing.read(0, entry.length)
        if not entry.transforms:
            with suppress(Unusual):  # the planner's own bytes, whatever they are
                self._check(entry, read_directory(landing))
            if kept is not None:
                kept.data = data
            else:
                self.load_bytes(entry, data)
            return
        for request in entry.requests:
            stream: Any = self._transforms.transform_load_stream(
                request, entry.transforms, io.BytesIO(data)
            )
            stream = io.BytesIO(stream.read(-1))
            if request.type == LoadItemType.BYTE_IO:
                self._planner.load_bytes(request, stream)
        if targets:
            self.fill(entry, targets, self._load_by_torch(entry, stream), commit=True)

    def _stored_tensor(self, entry: Entry) -> torch.Tensor:
        """The tensor that was saved: in its target already, or seen in the bytes beside it."""
        if entry.bare:
            return self._bare_tensor(entry)
        landing = _landing(entry)
        try:
            records = read_directory(landing)
            self._check(entry, records)
            header, record = self._header(landing, records)
            return self._seen(entry, header, record)
        except Unusual:
            self.counts["unusual_items"] += 1
            return self._load_by_torch(entry, io.BytesIO(landing.read(0, entry.length)))

    def _header(self, landing: Landing, records: list[Record]) -> tuple[TensorHeader, Record]:
        by_name = {record.name: record for record in records}
        pickle_record = by_name.get("data.pkl")
        if pickle_record is None:
            raise Unusual("no tensor's archive")
        order = by_name.get("byteorder")
        if order is not None and landing.read(order.start, order.stop) != _BYTE_ORDER:
            raise Unusual("bytes in another order")
        pickled = landing.read(pickle_record.start, pickle_record.stop)
        header = self._headers.get(pickled)
        if header is None:
            if len(self._headers) >= _MOST_HEADERS:
                self._headers.clear()
            header = self._headers[pickled] = read_header(pickled)
        record = by_name.get(header.record)
        if record is None or record.stop - record.start != header.nbytes:
            raise Unusual("a storage that is not there")
        return header, record

    def _seen(self, entry: Entry, header: TensorHeader, record: Record) -> torch.Tensor:
        landing, target = _landing(entry), entry.direct
        if not header.nbytes or 0 in header.size:
            return torch.empty(header.size, dtype=header.dtype)
        self._starts[header.dtype, len(header.size)] = record.start
        if target is None:
            assert entry.beside is not None
            raw = entry.beside[record.start : record.stop]
            if record.start % header.dtype.itemsize:
                raw = raw.clone()
        elif header.dtype == target.dtype and header.size == target.shape and header.contiguous:
            if record.start != landing.start:
                self.counts["moved_items"] += 1
                landing.move_to(record.start)
            return target
        else:
            data = bytearray(landing.read(record.start, record.stop))
            raw = torch.frombuffer(data, dtype=torch.uint8)
        seen = raw.view(header.dtype)
        return seen.as_strided(header.size, header.stride, seen.storage_offset() + header.offset)

    def _bare_tensor(self, entry: Entry) -> torch.Tensor:
        if entry.direct is not None:
            return entry.direct
        assert entry.stored is not None
        assert entry.beside is not None
        dtype, sizes = entry.stored
        return entry.beside.view(dtype).view(sizes)

    def _check(self, entry: Entry, records: list[Record]) -> None:
        if not self._verify:
            return
        try:
            self.counts["bytes_verified"] += verify(_landing(entry), records, crc32)
        except Damaged as damage:
            record = damage.record
            first, last = entry.start + record.start, entry.start + record.stop - 1
            raise CheckpointCorruptError(
                f"record {record.name} at bytes {first}-{last} has CRC-32 {damage.found:08x} where "
                f"{record.crc:08x} was saved: the bytes were damaged after saving."
            ) from None

    def _load_by_torch(self, entry: Entry, stream: io.BytesIO) -> torch.Tensor:
        try:
            loaded = torch.load(stream, map_location="cpu", weights_only=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, LookupError) as error:
            raise CheckpointCorruptError(
                f"torch cannot load it ({type(error).__name__}: {error})."
            ) from error
        if not isinstance(loaded, torch.Tensor):
            raise CheckpointCorruptError(f"it is no tensor but {type(loaded).__name__}.")
        return loaded


def _landing(entry: Entry) -> Landing:
    assert entry.landing is not None
    return entry.landing
