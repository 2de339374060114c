"""What a worker of torch's ``DataLoader`` hands over: a batch in memory that processes share.

torch copies whatever a worker returns into shared memory of its own. To make that, clear it, map it
and touch each of its pages for the first time costs more than to receive the bytes. `shared_copy`
writes a batch into a file in memory instead: the kernel copies into new pages and clears none, and
the worker never maps them. There are as many bytes of it as the machine has memory for, whatever
size ``/dev/shm`` has, which is 64 MB in most containers.
"""

from __future__ import annotations

import os
from io import FileIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    import torch


def shared_copy(array: numpy.ndarray[Any, Any] | torch.Tensor) -> torch.Tensor:
    """A copy of an array in memory that other processes may map: a batch to be handed over.

    Whoever reads batch after batch into the same array, which is warm then, and hands out such
    copies, spends less than with a new batch each time.

    Args:
        array: a numpy array, or a tensor in the processor's memory.

    Returns:
        A tensor of the same shape, dtype and elements, contiguous, for which ``is_shared()`` holds.

    Raises:
        TypeError: neither an array nor a tensor, or of a dtype that torch has not.
        ValueError: a tensor of a device, or sparse.
        OSError, RuntimeError: no memory or no file descriptor is left.

    Example::

        class Tiles(torch.utils.data.Dataset):
            def __getitems__(self, indices):
                rows = self.rows[: len(indices)]  # numpy.empty((batch_size, tile_size), "uint8")
                keys = [self.keys[index] for index in indices]
                for _ in self.client.read_many("bucket", keys, into=rows):
                    pass
                return shared_copy(rows)
    """
    import torch

    if isinstance(array, torch.Tensor):
        dtype, flat = array.dtype, _elements(array)
    else:
        import numpy

        if not isinstance(array, numpy.ndarray):
            raise TypeError(f"shared_copy takes an array or a tensor, not {type(array).__name__}")
        dtype = torch.from_numpy(numpy.empty(0, array.dtype)).dtype
        flat = numpy.ascontiguousarray(array).reshape(-1).view(numpy.uint8)
    # What torch itself calls where a tensor has come from another process.
    open_storage = getattr(torch.UntypedStorage, "_new_shared_fd_cpu", None)
    copy = torch.empty(0, dtype=torch.uint8)
    if open_storage is not None and hasattr(os, "memfd_create") and flat.nbytes:
        with _file_of(flat.data) as file:
            copy = copy.set_(open_storage(file.fileno(), flat.nbytes))  # a duplicate of it
    else:
        copy = copy.resize_(flat.nbytes)
        copy.numpy()[:] = flat
        copy.untyped_storage().share_memory_()
    return copy.view(dtype).view(array.shape)


def _elements(tensor: torch.Tensor) -> numpy.ndarray[Any, Any]:
    """The bytes of a tensor's elements, in order."""
    import torch

    if tensor.device.type != "cpu" or tensor.layout != torch.strided:
        raise ValueError(
            "shared_copy takes a dense tensor in the processor's memory, not one of "
            f"{tensor.device}, {tensor.layout}: call .cpu() or .to_dense() first"
        )
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    flat: numpy.ndarray[Any, Any] = plain.flatten().view(torch.uint8).numpy()
    return flat


def _file_of(data: memoryview) -> FileIO:
    """A file in memory of these bytes, to be closed."""
    file = FileIO(os.memfd_create("s3reader"), "w")
    try:
        written = 0
        while written < len(data):
            written += file.write(data[written:])
    except BaseException:
        file.close()
        raise
    return file
