"""Batches that a DataLoader's worker hands over in files in memory."""

from __future__ import annotations

import errno
import io
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import processes
import pytest

torch = pytest.importorskip("torch")
numpy = pytest.importorskip("numpy")

from s3reader import loader  # noqa: E402 (what it copies for is missing otherwise)
from s3reader.loader import shared_copy  # noqa: E402

LINUX = sys.platform == "linux"
MEGABYTE = 1024 * 1024
COUNT = 240  # rows that are loaded
TOGETHER = 4  # in a batch

ARRAYS = {
    "matrix": lambda: torch.arange(12).reshape(3, 4),
    "bfloat16": lambda: torch.arange(5).to(torch.bfloat16),
    "float8": lambda: torch.arange(5.0).to(torch.float8_e4m3fn),
    "scalar": lambda: torch.tensor(True),
    "nothing": lambda: torch.empty(0, 3),
    "transposed": lambda: torch.arange(24.0).reshape(4, 6).t(),
    "every second": lambda: torch.arange(24)[::2],
    "conjugate": lambda: torch.tensor([1 + 2j, 3 - 1j]).conj(),
    "negated": lambda: torch.tensor([1 + 2j, 3 - 1j]).conj().imag,
    "with gradient": lambda: torch.ones(3, requires_grad=True),
    "parameter": lambda: torch.nn.Parameter(torch.ones(3)),
    "numpy": lambda: numpy.arange(6, dtype=numpy.float32).reshape(2, 3),
    "numpy backwards": lambda: numpy.arange(6)[::-1],
    "numpy scalar": lambda: numpy.array(3.5),
    "numpy read-only": lambda: numpy.frombuffer(b"read-only", numpy.uint8),
    "several pages": lambda: torch.arange(MEGABYTE, dtype=torch.int64),
}


def is_in_file(tensor: Any) -> bool:
    """Whether the memory is of a file that `shared_copy` made, as the system tells."""
    address = tensor.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, _, last = line.split()[0].partition("-")
        if int(first, 16) <= address < int(last, 16):
            return "/memfd:s3reader" in line
    raise LookupError(hex(address))


@pytest.fixture(params=["file", "no file", "by name"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where there are files in memory, where there are none, and where torch shares by names."""
    kind: str = request.param
    before = torch.multiprocessing.get_sharing_strategy()
    if kind == "by name":
        torch.multiprocessing.set_sharing_strategy("file_system")
    elif kind == "no file":

        def refuse(name: bytes) -> int:
            raise OSError(errno.ENOSYS, "refused by a test")

        monkeypatch.setattr(loader, "open_file", refuse)
    elif not LINUX:
        pytest.skip("files in memory are Linux's")
    yield kind
    torch.multiprocessing.set_sharing_strategy(before)


@pytest.mark.parametrize("name", ARRAYS)
def test_copy_is_equal_shared_and_contiguous(system: str, name: str) -> None:
    array = ARRAYS[name]()
    with torch.device("meta"):  # a default that is not meant for this
        copy = shared_copy(array)
    expected = torch.from_numpy(array.copy()) if isinstance(array, numpy.ndarray) else array
    expected = expected.detach().resolve_conj().resolve_neg().contiguous()
    assert copy.dtype == expected.dtype
    assert copy.shape == expected.shape
    assert copy.is_shared()
    assert copy.is_contiguous()
    assert type(copy) is torch.Tensor
    assert not copy.requires_grad
    flat, wanted = copy.flatten().view(torch.uint8), expected.flatten().view(torch.uint8)
    assert torch.equal(flat, wanted)
    if LINUX and copy.numel():
        assert is_in_file(copy) == (system == "file")


def test_copy_and_original_change_apart(system: str) -> None:
    rows = numpy.zeros(10, numpy.uint8)
    copy = shared_copy(rows)
    rows[:] = 7
    assert copy.tolist() == [0] * 10
    copy[:] = 9
    assert rows.tolist() == [7] * 10


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: [1, 2], TypeError, "not list"),
        (lambda: b"bytes", TypeError, "not bytes"),
        (lambda: numpy.ma.array([1, 2], mask=[0, 1]), TypeError, "not MaskedArray"),
        (lambda: numpy.array(["text"]), TypeError, "str"),
        (lambda: numpy.array([1], ">i4"), ValueError, "byte order"),
        (lambda: torch.empty(3, device="meta"), ValueError, r"not one of meta.*\.cpu\(\)"),
        (lambda: torch.ones(3).to_sparse(), ValueError, r"sparse_coo.*\.to_dense\(\)"),
        (
            lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
            ValueError,
            r"qint8.*\.dequantize\(\)",
        ),
    ],
    ids=["list", "bytes", "masked", "text", "byte order", "device", "sparse", "quantized"],
)
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_what_has_no_dense_elements_here_is_refused(
    make: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        shared_copy(make())


@pytest.mark.forks
@pytest.mark.skipif(sys.platform == "darwin", reason="forks are not safe on this system")
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_of_workers(system: str, workers: int) -> None:
    context = "fork" if workers else None
    batches = torch.utils.data.DataLoader(
        processes.Numbers(COUNT, TOGETHER),
        TOGETHER,
        num_workers=workers,
        multiprocessing_context=context,
        collate_fn=processes.itself,
    )
    number = 0
    held: dict[int, list[int]] = {}
    for batch, files, worker in batches:
        for row in batch:
            assert torch.equal(row, torch.full_like(row, number))
            number += 1
        if LINUX:
            assert is_in_file(batch) == (system == "file")
        held.setdefault(worker, []).append(files)
        del batch, row
    assert number == COUNT
    assert len(held) == max(1, workers)
    for counts in held.values():
        assert len(counts) >= COUNT // TOGETHER // 4
        # A worker keeps what is on its way to the reader, two batches, and lets go of all others.
        assert max(counts) - counts[0] <= 6


@pytest.mark.skipif(not LINUX, reason="files in memory are Linux's")
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_batch_of_a_worker_that_was_started_afresh(method: str) -> None:
    batches = torch.utils.data.DataLoader(
        processes.Numbers(COUNT, TOGETHER),
        TOGETHER,
        num_workers=1,
        multiprocessing_context=method,
        collate_fn=processes.itself,
    )
    assert all(is_in_file(batch) for batch, _, _ in batches)


@pytest.mark.skipif(not LINUX, reason="files in memory are Linux's")
def test_nothing_is_kept_of_a_copy() -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(100):
        shared_copy(numpy.zeros(100, numpy.uint8))
    assert len(os.listdir("/proc/self/fd")) == len(before)


class ShortWrites(io.FileIO):
    """A file that takes 1000 bytes at a time, and so many of them in all."""

    room = 0

    def write(self, data: Any, /) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "full")
        taken = super().write(bytes(data[: min(1000, self.room)]))
        type(self).room -= taken
        return taken


@pytest.mark.skipif(not LINUX, reason="files in memory are Linux's")
def test_file_that_takes_less_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "FileIO", ShortWrites)
    rows = numpy.arange(5555, dtype=numpy.uint8)
    monkeypatch.setattr(ShortWrites, "room", 6000)
    assert torch.equal(shared_copy(rows), torch.from_numpy(rows))
    monkeypatch.setattr(ShortWrites, "room", 5000)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="full"):
        shared_copy(rows)
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.skipif(not LINUX, reason="files in memory are Linux's")
def test_no_descriptor_is_left() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    rows = numpy.arange(5)
    held: list[Any] = []
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 10, hard))
    try:
        with pytest.raises((OSError, RuntimeError), match=r"open files|file in memory|descriptor"):
            held.extend(shared_copy(rows) for _ in range(highest + 10))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    held.append(shared_copy(rows))
    assert all(copy.tolist() == list(range(5)) for copy in held)
    assert len(held) > 5
