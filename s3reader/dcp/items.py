"""What a plan reads of a checkpoint's files: its items, grouped into the requests that fetch them.

Several items of a plan may want the same stored bytes (a tied tensor, a tensor that was sharded
otherwise); they become one `Entry`, fetched once. Entries near each other share requests.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from s3reader._ext.landing import Landing
from s3reader._ext.ranges import split
from s3reader.gather import Part
from s3reader.source import ObjectSource

from ._torch import LoadItemType, Metadata, ReadItem, TensorStorageMetadata

DEFAULT_GAP = 2 * 1024 * 1024
"""Bytes between entries that are fetched rather than left out, unless the user says otherwise: what
a connection brings (90 MB/s) in the time that S3 takes to answer another request (20 ms). The
readers' default, 32 MiB, is larger because they read one stream at a time."""


class Unplannable(Exception):
    """A plan that only torch's own way of reading can carry out."""


@dataclass(eq=False, slots=True)
class Entry:
    """A stored item: bytes ``[start, stop)`` of a file, and who wants them.

    Attributes:
        file: relative to the checkpoint.
        requests: items of the plan, one at least, all for these bytes.
        transforms: descriptors of torch's stream extensions, to be undone.
        stored: dtype and sizes of the tensor; None for bytes.
        bare: whether the bytes are the tensor's own, without an archive around them.
        targets: of the requests, while the bytes are on their way.
        landing: memory for the bytes meanwhile; ``direct`` the target that it is of, or ``beside``
            memory of its own.
        missing: bytes that have not arrived yet, once it has memory.
        in_turn: whether its targets' memory is wanted by others before it.
    """

    file: str
    start: int
    stop: int
    requests: list[ReadItem]
    transforms: Sequence[str]
    stored: tuple[torch.dtype, tuple[int, ...]] | None
    bare: bool = False
    targets: list[torch.Tensor] | None = None
    landing: Landing | None = None
    direct: torch.Tensor | None = None
    beside: torch.Tensor | None = None
    missing: int = 0
    in_turn: bool = False

    @property
    def length(self) -> int:
        """In bytes, all of the archive's."""
        return self.stop - self.start

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.requests[0].storage_index.fqn)


def tensor_requests(entry: Entry) -> list[ReadItem]:
    """Those that want a tensor."""
    return [request for request in entry.requests if request.type != LoadItemType.BYTE_IO]


def entries_of(
    items: Iterable[ReadItem], storage_data: Mapping[Any, Any], metadata: Metadata
) -> list[Entry]:
    """The stored items that a plan wants, in the order of files and bytes.

    Raises:
        Unplannable: some share bytes without being the same.
    """
    entries: dict[tuple[str, int, int], Entry] = {}
    for item in items:
        info = storage_data[item.storage_index]
        place = (info.relative_path, info.offset, info.offset + info.length)
        entry = entries.get(place)
        if entry is None:
            # Older torch wrote no such field.
            transforms = getattr(info, "transform_descriptors", None) or ()
            entries[place] = Entry(*place, [item], transforms, _stored(item, metadata))
        else:
            entry.requests.append(item)
    ordered = [entries[place] for place in sorted(entries)]
    previous = None
    for entry in ordered:
        if entry.start < 0 or entry.length < 0:
            raise Unplannable(f"{entry.name}: bytes {entry.start}-{entry.stop} are not a range")
        if previous and entry.file == previous.file and entry.start < previous.stop:
            raise Unplannable(f"{previous.name} and {entry.name} share bytes of {entry.file}")
        previous = entry
    return ordered


def bare_entries_of(items: Iterable[ReadItem], storage_data: Mapping[Any, Any]) -> list[Entry]:
    """The same for tensors whose bytes lie bare in their files: of whole rows, only those wanted.

    Args:
        items: of the plan.
        storage_data: of each item's index its file, offset, length, shape and dtype.
    """
    of_tensor: dict[Any, dict[tuple[int, int], Entry]] = {}
    for item in items:
        info = storage_data[item.storage_index]
        entries = of_tensor.setdefault(item.storage_index, {})
        start, stop, sizes = _rows(item, info)
        entry = entries.get((start, stop))
        if entry is None:
            stored = info.dtype, sizes
            entries[start, stop] = Entry(
                info.relative_path, start, stop, [item], (), stored, bare=True
            )
        else:
            entry.requests.append(item)
    ordered = []
    for index, entries in of_tensor.items():
        pieces = [entries[place] for place in sorted(entries)]
        if any(b.start < a.stop for a, b in itertools.pairwise(pieces)):
            info = storage_data[index]
            requests = [request for piece in pieces for request in piece.requests]
            stop = info.offset + info.length
            stored = info.dtype, tuple(info.shape)
            pieces = [Entry(info.relative_path, info.offset, stop, requests, (), stored, bare=True)]
        ordered += pieces
    ordered.sort(key=lambda entry: (entry.file, entry.start, entry.stop))
    return ordered


def _rows(item: ReadItem, info: Any) -> tuple[int, int, tuple[int, ...]]:
    """The bytes that an item wants where they are one range, else all of the tensor's."""
    shape, wanted = tuple(info.shape), tuple(item.lengths)
    if shape and wanted[1:] == shape[1:] and wanted[0] <= shape[0] and info.length:
        row = info.length // shape[0]
        start = info.offset + row * item.storage_offsets[0]
        return start, start + row * wanted[0], wanted
    return info.offset, info.offset + info.length, shape


def _stored(item: ReadItem, metadata: Metadata) -> tuple[Any, tuple[int, ...]] | None:
    index = item.storage_index
    described = metadata.state_dict_metadata.get(index.fqn)
    if not isinstance(described, TensorStorageMetadata):
        return None
    chunks = described.chunks
    hint = index.index
    if hint is not None and hint < len(chunks) and chunks[hint].offsets == index.offset:
        sizes = chunks[hint].sizes
    else:
        found = [chunk.sizes for chunk in chunks if chunk.offsets == index.offset]
        if len(found) != 1:
            return None
        sizes = found[0]
    return described.properties.dtype, tuple(sizes)


def parts_of(
    entries: Sequence[Entry],
    max_gap: int | float,
    part_size: int,
    source_of: Callable[[str], ObjectSource],
) -> tuple[list[Part], int]:
    """The requests that fetch ``entries``, and how many bytes of them nobody wants.

    Args:
        entries: in the order of files and bytes; empty ones are left out.
        max_gap: bytes; entries no further apart share requests.
        part_size: bytes of one request at most.
        source_of: gives the object of a file.
    """
    parts: list[Part] = []
    group: list[Entry] = []
    for entry in entries:
        if not entry.length:
            continue
        if group and (entry.file != group[-1].file or entry.start - group[-1].stop > max_gap):
            parts += _cut(group, part_size, source_of)
            group = []
        group.append(entry)
    if group:
        parts += _cut(group, part_size, source_of)
    fetched = sum(part.stop - part.start for part in parts)
    return parts, fetched - sum(entry.length for entry in entries)


def _cut(
    group: list[Entry], part_size: int, source_of: Callable[[str], ObjectSource]
) -> list[Part]:
    source = source_of(group[0].file)
    parts = [
        Part(source, start, stop)
        for start, stop in split(group[0].start, group[-1].stop, part_size)
    ]
    first = 0
    for entry in group:
        while parts[first].stop <= entry.start:
            first += 1
        number = first
        while number < len(parts) and parts[number].start < entry.stop:
            parts[number].items.append(entry)
            number += 1
    # Nothing is asked for a gap at a part's edge, or for one that covers the part.
    parts = [part for part in parts if part.items]
    for part in parts:
        part.start = max(part.start, part.items[0].start)
        part.stop = min(part.stop, part.items[-1].stop)
    return parts
