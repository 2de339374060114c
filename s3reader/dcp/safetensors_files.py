"""Files in the safetensors format: what each holds and where, from their headers alone.

A file is eight bytes that tell the header's length, the header in JSON, and the tensors' bytes in
a row, without an archive around them and without checksums (Hugging Face, "safetensors: format").
The headers of all files are fetched together. ``model.safetensors.index.json``, where there is
one, says which files belong to the checkpoint. Torch's writer for this format keeps in a header
which part of a tensor a rank saved.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from s3reader._ext.scatter import Scatter
from s3reader.client import S3Client
from s3reader.errors import ObjectNotFoundError
from s3reader.gather import Part, gather
from s3reader.results import ObjectInfo
from s3reader.source import ObjectSource

from .errors import CheckpointCorruptError

INDEX = "model.safetensors.index.json"
SUFFIX = ".safetensors"
SHARDING = "DCP_SHARDING_INFO"
"""The entry of a header's metadata in which torch's writer keeps the offsets of shards."""

FIRST_READ = 64 * 1024
"""Bytes of each file that are asked for first: most headers fit, and S3 takes longer to answer than
to send them."""

LARGEST_HEADER = 100 * 1000 * 1000
"""Bytes of a header at most, by the format."""

_LENGTH = struct.Struct("<Q")

DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor, or a rank's shard of one, in a file.

    Attributes:
        relative_path: of the file, below the checkpoint.
        offset, length: of its bytes in the file.
        shape, dtype: of what is stored.
        saved_offsets: where in the whole tensor it begins.
    """

    name: str
    relative_path: str
    offset: int
    length: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    saved_offsets: tuple[int, ...]


def find_files(client: S3Client, bucket: str, prefix: str) -> dict[str, ObjectInfo]:
    """The files of a checkpoint, by their names.

    Raises:
        ObjectNotFoundError: there is none, or one that the index names is not there.
    """
    below = f"{prefix}/" if prefix and not prefix.endswith("/") else prefix
    found = {
        info.key.removeprefix(below): info
        for page in client.list_objects(bucket, below, "/")
        for info in page.object_info
    }
    names = [name for name in found if name.endswith(SUFFIX)]
    if INDEX in found:
        with client.get_object(bucket, below + INDEX) as reader:
            names = _indexed(reader.read())
        missing = sorted(set(names) - found.keys())
        if missing:
            raise ObjectNotFoundError(
                f"{INDEX} names {', '.join(missing[:3])}, which is not there.",
                bucket=bucket,
                key=below + missing[0],
            )
    if not names:
        raise ObjectNotFoundError(
            f"there is no file *{SUFFIX} in s3://{bucket}/{below}.", bucket=bucket, key=below
        )
    return {name: found[name] for name in names}


def _indexed(data: bytes) -> list[str]:
    try:
        return sorted(set(json.loads(data)["weight_map"].values()))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointCorruptError(
            f"{INDEX} is damaged ({type(error).__name__}: {error})."
        ) from error


def read_headers(sources: Mapping[str, ObjectSource]) -> Iterator[StoredTensor]:
    """What the files hold.

    Args:
        sources: the files; their sizes are known.

    Raises:
        CheckpointCorruptError: a file is not of this format.
    """
    heads = dict(_heads(sources, dict.fromkeys(sources, FIRST_READ)))
    stops = {}
    for file, head in heads.items():
        if len(head) < _LENGTH.size:
            raise CheckpointCorruptError(f"{file} has only {len(head)} bytes.")
        length = _LENGTH.unpack_from(head)[0]
        stop = _LENGTH.size + length
        if length > LARGEST_HEADER or stop > (sources[file].size or 0):
            raise CheckpointCorruptError(
                f"{file} has {sources[file].size} bytes and no header of {length}: it was cut "
                "short, or is no safetensors file."
            )
        if stop > len(head):
            stops[file] = stop
    heads.update(_heads(sources, stops))
    for file, head in heads.items():
        yield from _tensors(file, head, sources[file].size or 0)


def _heads(
    sources: Mapping[str, ObjectSource], stops: Mapping[str, int]
) -> Iterator[tuple[str, bytes]]:
    """The first bytes of files, all at once."""
    parts = []
    for file, stop in stops.items():
        count = min(stop, sources[file].size or 0)
        memory = torch.empty(count, dtype=torch.uint8)
        if count:
            parts.append(Part(sources[file], 0, count, [file, memory]))
        else:
            yield file, b""
    if parts:
        for part, _, _ in gather(parts[0].source.session, parts, _place):
            if not part.missing:
                file, memory = part.items
                yield file, bytes(memory.numpy())


def _place(part: Part, alone: bool) -> Scatter:
    memory = part.items[1]
    return Scatter([(part.start, part.stop, memory.data_ptr())], memory)


def _tensors(file: str, head: bytes, size: int) -> list[StoredTensor]:
    begin = _LENGTH.size + _LENGTH.unpack_from(head)[0]
    try:
        header = json.loads(head[_LENGTH.size : begin])
        metadata = header.pop("__metadata__", None) or {}
        shards = json.loads(metadata[SHARDING]) if SHARDING in metadata else None
        tensors = [
            _tensor(file, name, described, begin, shards) for name, described in header.items()
        ]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointCorruptError(
            f"the header of {file} is damaged ({type(error).__name__}: {error})."
        ) from error
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.length))
    at = begin
    for tensor in tensors:
        stop = tensor.offset + tensor.length
        if tensor.offset < at or tensor.length != math.prod(tensor.shape) * tensor.dtype.itemsize:
            raise CheckpointCorruptError(
                f"the header of {file} is damaged: {tensor.name!r} cannot be bytes "
                f"{tensor.offset}-{stop - 1}."
            )
        if stop > size:
            raise CheckpointCorruptError(
                f"{file} was cut short: it has {size} bytes, and {tensor.name!r} ends at {stop}."
            )
        at = stop
    return tensors


def _tensor(
    file: str, name: str, described: Any, begin: int, shards: Mapping[str, Any] | None
) -> StoredTensor:
    start, stop = described["data_offsets"]
    shape = tuple(described["shape"])
    dtype = DTYPES.get(described["dtype"])
    if dtype is None:
        raise ValueError(f"{name!r} is of dtype {described['dtype']!r}, which is not known here")
    offsets = tuple(shards[name]["saved_offsets"]) if shards is not None else (0,) * len(shape)
    numbers: Sequence[Any] = (start, stop, *shape, *offsets)
    if len(offsets) != len(shape) or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError(f"{name!r} is described by {described}")
    return StoredTensor(name, file, begin + start, stop - start, shape, dtype, offsets)
