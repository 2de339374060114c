"""The direct path: a plan's bytes from S3 into its tensors, without torch.load in between.

Parts of all files are fetched together (see `s3reader.gather`). Before a part is sent, the targets
of its items are asked from the planner and become its places; when an item's last byte is there,
its checksums are compared, its header is read, and it is committed. What is not a plain tensor in
plain memory takes the smallest detour: bytes beside the target and one copy; and what torch did
not write in its usual form is read by torch, from the same bytes.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from s3reader._ext.scatter import Scatter
from s3reader.errors import ObjectChangedError, ObjectNotFoundError, S3Exception
from s3reader.gather import Part, gather

from ._torch import LoadItemType, LoadPlanner, ReadItem
from .errors import CheckpointCorruptError, in_checkpoint
from .items import Entry
from .landing import LARGEST_MARGIN, USUAL_DATA_START, Claims, Landing
from .tensor_header import TensorHeader, read_header
from .zip_record import Record, Unusual, read_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from s3reader.session import Session

_BYTE_ORDER = b"little"


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
        self._targets: dict[int, list[torch.Tensor]] = {}
        self._claims = Claims()
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
        current: Entry | None = None
        self._keep = keep
        try:
            for current in empty:
                current.landing = Landing(0, None, 0)
                self._settle(current)
            with closing(gather(self._session, parts, self._place)) as arriving:
                for part in arriving:
                    for current in part.items:
                        if current.stop <= part.stop:
                            self._settle(current)
                        elif self._verify:
                            current.landing.sum_up_to(part.stop - current.start)
                    self._arrived(part.stop - part.start)
        except S3Exception as error:
            failed: Part | None = getattr(error, "part", None)
            entries = [current] if failed is None and current is not None else []
            entries = entries if failed is None else failed.items
            raise in_checkpoint(error, self._describe(entries), _advice(error)) from error
        finally:
            for part in parts:
                for entry in part.items:
                    self._release(entry)

    def _release(self, entry: Entry) -> None:
        if entry.landing is not None:
            self._session.budget.give(entry.landing.held)
            entry.landing = None

    def _describe(self, entries: Sequence[Entry]) -> str:
        names = list(
            dict.fromkeys(request.dest_index.fqn for e in entries for request in e.requests)
        )
        shown = ", ".join(repr(name) for name in names[:3])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        file = entries[0].file if entries else "a file"
        return f"{shown}{more} from {file} of checkpoint {self._path}"

    # Before a part is sent.

    def _place(self, part: Part, alone: bool) -> Scatter | None:
        new = [entry for entry in part.items if entry.landing is None]
        landings = [self._land(entry) for entry in new]
        # Counted before any byte arrives: the pages of memory that is not written cost nothing.
        count = sum(landing.held for landing in landings)
        if not self._session.budget.take(count, alone):
            for landing in landings:
                self._unclaim(landing)
            return None
        for entry, landing in zip(new, landings, strict=True):
            entry.landing = landing
        pieces = [
            (entry.start + piece.start, entry.start + piece.stop, piece.address)
            for entry in part.items
            for piece in entry.landing.pieces
        ]
        return Scatter(pieces, [entry.landing for entry in part.items])

    def _land(self, entry: Entry) -> Landing:
        targets = self._resolve(entry)
        if entry.stored is not None and not entry.transforms:
            dtype, sizes = entry.stored
            start = self._starts.get((dtype, len(sizes)), USUAL_DATA_START)
            for target, request in zip(targets, entry.requests, strict=True):
                margin = entry.length - target.nbytes
                if (
                    start <= margin <= LARGEST_MARGIN
                    and takes_all(target, dtype, sizes, request)
                    and self._claims.add(target.data_ptr(), target.nbytes)
                ):
                    return Landing(entry.length, target, start)
        return Landing(entry.length, None, USUAL_DATA_START)

    def _unclaim(self, landing: Landing) -> None:
        if landing.target is not None:
            self._claims.remove(landing.target.data_ptr())

    def _resolve(self, entry: Entry) -> list[torch.Tensor]:
        """The targets of a tensor's requests; asked once."""
        targets = self._targets.get(id(entry))
        if targets is None:
            targets = self._targets[id(entry)] = self.resolve(entry)
        return targets

    # When the last byte of an item is there.

    def _settle(self, entry: Entry) -> None:
        landing: Landing = entry.landing
        targets = self._resolve(entry)
        kept = Kept(targets, b"") if entry in self._keep else None
        self.counts["items"] += 1
        if entry.transforms or not targets:
            self._load_stream(entry, targets, kept)
        else:
            self.fill(entry, targets, self._stored_tensor(entry), commit=kept is None)
            if landing.target is not None:
                self.counts["direct_items"] += 1
        if kept is not None:
            self.kept[entry] = kept
        self._unclaim(landing)
        self._targets.pop(id(entry), None)
        self._release(entry)

    def fill(
        self, entry: Entry, targets: Sequence[torch.Tensor], stored: torch.Tensor, *, commit: bool
    ) -> None:
        """Put what is wanted of the stored tensor into each target that is not that tensor."""
        for request, target in zip(tensor_requests(entry), targets, strict=True):
            wanted = stored
            for dimension, (offset, length) in enumerate(
                zip(request.storage_offsets, request.lengths, strict=True)
            ):
                if wanted.size(dimension) != length:
                    wanted = wanted.narrow(dimension, offset, length)
            if target.size() != wanted.size():
                raise AssertionError(
                    f"req {request.storage_index} mismatch sizes {target.size()} vs {wanted.size()}"
                )
            if target is not stored:
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
            self._planner.load_bytes(request, io.BytesIO(data))

    def resolve(self, entry: Entry) -> list[torch.Tensor]:
        """The targets of an entry that another rank reads."""
        return [
            self._planner.resolve_tensor(request).detach() for request in tensor_requests(entry)
        ]

    def _load_stream(self, entry: Entry, targets: list[torch.Tensor], kept: Kept | None) -> None:
        """Bytes for the planner, and whatever a stream extension has changed."""
        data = entry.landing.read(0, entry.length)
        if not entry.transforms:
            with suppress(Unusual):  # the planner's own bytes, whatever they are
                self._check(entry, read_directory(entry.landing.read, entry.length))
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
        landing: Landing = entry.landing
        try:
            records = read_directory(landing.read, entry.length)
            self._check(entry, records)
            header, record = self._header(landing, records)
            return self._seen(entry, header, record)
        except Unusual:
            self.counts["unusual_items"] += 1
            return self._load_by_torch(entry, io.BytesIO(landing.read(0, entry.length)))

    def _header(self, landing: Landing, records: list[Record]) -> tuple[TensorHeader, Record]:
        # Below the archive's name, which torch takes from the file's.
        by_name = {record.name.partition("/")[2]: record for record in records}
        if "data.pkl" not in by_name:
            raise Unusual("no tensor's archive")
        order = by_name.get("byteorder")
        if order is not None and landing.read(order.start, order.stop) != _BYTE_ORDER:
            raise Unusual("bytes in another order")
        pickled = landing.read(by_name["data.pkl"].start, by_name["data.pkl"].stop)
        header = self._headers.get(pickled)
        if header is None:
            header = self._headers[pickled] = read_header(pickled)
        record = by_name.get(header.record)
        if record is None or record.stop - record.start != header.nbytes:
            raise Unusual("a storage that is not there")
        return header, record

    def _seen(self, entry: Entry, header: TensorHeader, record: Record) -> torch.Tensor:
        landing: Landing = entry.landing
        if math.prod(header.size) == 0:
            return torch.empty(header.size, dtype=header.dtype)
        self._starts[header.dtype, len(header.size)] = record.start
        target = landing.target
        if target is None:
            raw = landing.beside[record.start : record.stop]
            if record.start % header.dtype.itemsize:
                raw = raw.clone()
        elif (
            header.contiguous
            and header.dtype == target.dtype
            and header.size == tuple(target.shape)
        ):
            if record.start != landing.start:
                self.counts["moved_items"] += 1
                landing.move_to(record.start)
            return target
        else:
            data = bytearray(landing.read(record.start, record.stop))
            raw = torch.frombuffer(data, dtype=torch.uint8)
        seen = raw.view(header.dtype)
        return seen.as_strided(header.size, header.stride, seen.storage_offset() + header.offset)

    def _check(self, entry: Entry, records: list[Record]) -> None:
        if not self._verify:
            return
        for record in records:
            found = entry.landing.checksum(record.start, record.stop)
            if found != record.crc:
                first, last = entry.start + record.start, entry.start + record.stop - 1
                raise CheckpointCorruptError(
                    f"record {record.name} at bytes {first}-{last} has CRC-32 {found:08x} where "
                    f"{record.crc:08x} was saved: the bytes were damaged after saving."
                )
            self.counts["bytes_verified"] += record.stop - record.start

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


def tensor_requests(entry: Entry) -> list[ReadItem]:
    """Those that want a tensor."""
    return [request for request in entry.requests if request.type != LoadItemType.BYTE_IO]


def takes_all(
    target: torch.Tensor, dtype: torch.dtype, sizes: tuple[int, ...], request: ReadItem
) -> bool:
    """Whether the target's memory, byte for byte, is all of a tensor of these sizes."""
    return (
        type(target) is torch.Tensor
        and target.device.type == "cpu"
        and target.layout is torch.strided
        and target.dtype == dtype
        and tuple(target.shape) == sizes == tuple(request.lengths)
        and not any(request.storage_offsets)
        and target.is_contiguous()
        and not target.is_conj()
        and not target.is_neg()
        and target.nbytes > 0
    )


def _advice(error: S3Exception) -> str:
    if isinstance(error, ObjectNotFoundError):
        return "The checkpoint is not complete: was it deleted, or its upload cut short?"
    if isinstance(error, ObjectChangedError):
        return "Load again, from a checkpoint that nobody writes to."
    if isinstance(error, CheckpointCorruptError):
        return "Load an earlier checkpoint, or upload this one again."
    return ""
