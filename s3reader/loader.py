"""What a worker of torch's ``DataLoader`` hands over: a batch in memory that processes share.

torch copies whatever a worker returns into shared memory of its own. To make that, clear it, map it
and touch each of its pages for the first time costs more than to receive the bytes. `shared_copy`
writes a batch into a file in memory instead: the kernel copies into new pages and clears none, and
the worker touches none of them. Such a file has room for what the machine or the container has
memory for, whatever size ``/dev/shm`` has, which is 64 MB in most containers.

Where there are no such files (other systems than Linux), or where torch was told to share by file
names (``torch.multiprocessing.set_sharing_strategy("file_system")``), the copy lies where torch's
own do.
"""

from __future__ import annotations

import errno
from io import FileIO
from typing import TYPE_CHECKING, Any

from ._ext.memfile import open_file

if TYPE_CHECKING:
    import numpy
    import torch


_NO_SUCH_FILES = (errno.ENOSYS, errno.EPERM, errno.EACCES)
"""Why a kernel, or who guards it, makes none."""


def shared_copy(array: numpy.ndarray[Any, Any] | torch.Tensor) -> torch.Tensor:
    """A copy of an array in memory that other processes may map: a batch to be handed over.

    Whoever reads batch after batch into the same array, which is warm then, and hands out such
    copies, spends less than with a new batch each time.

    Args:
        array: a numpy array, or a tensor in the processor's memory.

    Returns:
        A tensor of the same shape, dtype and elements, contiguous, without gradient, for which
        ``is_shared()`` holds. It keeps a file descriptor while it lives, as torch's shared ones do.

    Raises:
        TypeError: neither an array nor a tensor, a masked array, or a dtype that torch has not.
        ValueError: a tensor of a device, sparse, nested or quantized; an array of another byte
            order than the machine's.
        OSError, RuntimeError: no memory or no file descriptor is left.

    Example::

        class Tiles(torch.utils.data.Dataset):
            def __getitems__(self, indices):
                rows = self.rows[: len(indices)]  # numpy.empty((batch_size, tile_size), "uint8")
                keys = [self.keys[index] for index in indices]
                for _ in self.client.read_many("bucket", keys, into=rows):
                    pass
                return shared_copy(rows)

        def whole(batch):  # torch's own collate_fn would take it apart
            return batch

        loader = DataLoader(tiles, batch_size, num_workers=4, collate_fn=whole)
    """
    import torch

    dtype, flat = _elements(array)
    storage: Any = torch.UntypedStorage
    copy = torch.empty(0, dtype=torch.uint8, device="cpu")
    file = _file_of(flat.data) if flat.nbytes else None
    if file is not None:
        with file:
            # What torch itself calls where a tensor came from another process: it duplicates it.
            copy = copy.set_(storage._new_shared_fd_cpu(file.fileno(), flat.nbytes))
    elif flat.nbytes:
        copy = copy.set_(storage._new_shared(flat.nbytes))
        copy.numpy()[:] = flat
    else:
        copy.untyped_storage().share_memory_()
    return copy.view(dtype).view(array.shape)


def _elements(
    array: numpy.ndarray[Any, Any] | torch.Tensor,
) -> tuple[torch.dtype, numpy.ndarray[Any, Any]]:
    """torch's dtype of an array or tensor, and its elements' bytes in order."""
    import numpy
    import torch

    if isinstance(array, torch.Tensor):
        dense = array.layout == torch.strided and not array.is_nested and not array.is_quantized
        if array.device.type != "cpu" or not dense:
            raise ValueError(
                "shared_copy takes a dense tensor in the processor's memory, not one of "
                f"{array.device}, {array.layout}, {array.dtype}: make one first, as .cpu(), "
                ".to_dense() and .dequantize() do"
            )
        plain = array.detach().resolve_conj().resolve_neg().contiguous()
        return array.dtype, plain.flatten().view(torch.uint8).numpy()
    if not isinstance(array, numpy.ndarray) or isinstance(array, numpy.ma.MaskedArray):
        raise TypeError(f"shared_copy takes an array or a tensor, not {type(array).__name__}")
    dtype = torch.from_numpy(numpy.empty(0, array.dtype)).dtype
    return dtype, numpy.ascontiguousarray(array).reshape(-1).view(numpy.uint8)


def _file_of(data: memoryview) -> FileIO | None:
    """A file in memory of these bytes, to be closed; None where there are none or torch wants none.

    Raises:
        OSError: no memory or no file descriptor is left.
    """
    import torch

    strategy = torch.multiprocessing.get_sharing_strategy()  # type: ignore[no-untyped-call]
    if strategy != "file_descriptor" or not hasattr(torch.UntypedStorage, "_new_shared_fd_cpu"):
        return None
    try:
        file = FileIO(open_file(b"s3reader"), "w")
    except OSError as error:
        if error.errno in _NO_SUCH_FILES:
            return None
        raise
    try:
        written = 0
        while written < len(data):
            written += file.write(data[written:])
    except BaseException:
        file.close()
        raise
    return file
