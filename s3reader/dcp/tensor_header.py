"""What ``torch.save`` says about a tensor: its dtype, shape and strides, and nothing else.

The pickle of a saved tensor calls one function of torch's with numbers. It is read here with
stand-ins for the few names it may use; a pickle with any other name is `Unusual` and goes to
``torch.load(weights_only=True)``, which decides. So nothing of torch's is called, and nothing is
accepted that ``weights_only=True`` refuses.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any, NamedTuple

import torch

from s3reader._ext.archive import Unusual

_LARGEST = 64 * 1024
"""Bytes that a tensor's pickle takes at most; torch's have 100 to 300."""

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class TensorHeader(NamedTuple):
    """A saved tensor: where its bytes are and how they are to be seen.

    Attributes:
        record: name of the storage's record, below the archive's name.
        dtype: of the elements.
        nbytes: of the storage.
        offset: of the first element, in elements.
        size, stride: in elements.
    """

    record: str
    dtype: torch.dtype
    nbytes: int
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def contiguous(self) -> bool:
        """Whether the storage is the tensor's elements in their order and nothing else."""
        if self.offset or self.nbytes != math.prod(self.size) * self.dtype.itemsize:
            return False
        expected = 1
        for length, step in zip(reversed(self.size), reversed(self.stride), strict=True):
            if length != 1 and step != expected:
                return 0 in self.size
            expected *= length
        return True


class _Storage(NamedTuple):
    kind: Any
    key: str
    length: int


def _rebuild_v2(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, *rest: Any
) -> TensorHeader:
    if rest or not isinstance(storage.kind, torch.dtype):
        raise Unusual("a tensor with more to it")
    return _checked(storage, storage.kind, storage.kind.itemsize, offset, size, stride)


def _rebuild_v3(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    hooks: Any,
    dtype: Any,
    *rest: Any,
) -> TensorHeader:
    if rest or storage.kind != "UntypedStorage" or not isinstance(dtype, torch.dtype):
        raise Unusual("a tensor with more to it")
    return _checked(storage, dtype, 1, offset, size, stride)


def _rebuild_parameter(data: Any, requires_grad: Any, hooks: Any) -> Any:
    return data


_NAMES: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_v2,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_v3,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch.storage", "UntypedStorage"): "UntypedStorage",
    ("collections", "OrderedDict"): dict,
    **{("torch", name): dtype for name, dtype in _STORAGES.items()},
}


def _checked(
    storage: _Storage, dtype: torch.dtype, unit: int, offset: Any, size: Any, stride: Any
) -> TensorHeader:
    header = TensorHeader(f"data/{storage.key}", dtype, storage.length * unit, offset, size, stride)
    numbers = (storage.length, offset, *size, *stride)
    if len(size) != len(stride) or not all(type(each) is int and each >= 0 for each in numbers):
        raise Unusual("a tensor of an unusual shape")
    if 0 not in size:
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if (last + 1) * dtype.itemsize > header.nbytes:
            raise Unusual("a tensor larger than its storage")
    return header


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = _NAMES.get((module, name))
        if found is None and module == "torch":
            candidate = vars(torch).get(name)
            found = candidate if isinstance(candidate, torch.dtype) else None
        if found is None:
            raise Unusual(f"a pickle that uses {module}.{name}")
        return found

    def persistent_load(self, pid: Any) -> Any:
        word, kind, key, _, length = pid
        if word != "storage" or type(key) is not str or type(length) is not int:
            raise Unusual("a storage of an unusual kind")
        return _Storage(kind, key, length)


def read_header(data: bytes) -> TensorHeader:
    """What a saved tensor's ``data.pkl`` says.

    Raises:
        Unusual: it says anything that a plain tensor does not.
    """
    if len(data) > _LARGEST:
        raise Unusual("a pickle of an unusual size")
    try:
        header = _Unpickler(io.BytesIO(data)).load()
    except Unusual:
        raise
    except Exception as error:
        raise Unusual(f"a pickle that cannot be read: {error}") from error
    if not isinstance(header, TensorHeader):
        raise Unusual("a pickle that is no tensor's")
    return header
