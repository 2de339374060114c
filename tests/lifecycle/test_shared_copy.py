"""Batches that a DataLoader's worker hands over in memory that it never maps."""

from __future__ import annotations

import os
import resource
from typing import Any

import pytest

torch = pytest.importorskip("torch")
numpy = pytest.importorskip("numpy")

from s3reader.loader import shared_copy  # noqa: E402 (imports torch)

MEGABYTE = 1024 * 1024

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
    "numpy": lambda: numpy.arange(6, dtype=numpy.float32).reshape(2, 3),
    "numpy backwards": lambda: numpy.arange(6)[::-1],
    "numpy scalar": lambda: numpy.array(3.5),
    "numpy read-only": lambda: numpy.frombuffer(b"read-only", numpy.uint8),
    "several pages": lambda: torch.arange(MEGABYTE, dtype=torch.int64),
}


@pytest.fixture(params=["memfd", "without memfd"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A system with files in memory, and one without."""
    kind: str = request.param
    if kind == "without memfd":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    elif not hasattr(os, "memfd_create"):
        pytest.skip("this system has no memfd_create")
    return kind


@pytest.mark.parametrize("name", ARRAYS)
def test_copy_is_equal_shared_and_contiguous(system: str, name: str) -> None:
    array = ARRAYS[name]()
    copy = shared_copy(array)
    expected = torch.from_numpy(array.copy()) if isinstance(array, numpy.ndarray) else array
    expected = expected.detach().resolve_conj().resolve_neg().contiguous()
    assert copy.dtype == expected.dtype
    assert copy.shape == expected.shape
    assert copy.is_shared()
    assert copy.is_contiguous()
    assert not copy.requires_grad
    flat, wanted = copy.flatten().view(torch.uint8), expected.flatten().view(torch.uint8)
    assert flat.tolist() == wanted.tolist()


def test_copy_and_original_change_apart(system: str) -> None:
    rows = numpy.zeros(10, numpy.uint8)
    copy = shared_copy(rows)
    rows[:] = 7
    assert copy.tolist() == [0] * 10
    copy[:] = 9
    assert rows.tolist() == [7] * 10


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        ([1, 2], TypeError, "not list"),
        (b"bytes", TypeError, "not bytes"),
        (numpy.array(["text"]), TypeError, "str"),
        (torch.empty(3, device="meta"), ValueError, r"not one of meta.*\.cpu\(\)"),
        (torch.ones(3).to_sparse(), ValueError, r"sparse_coo: call.*\.to_dense\(\)"),
    ],
    ids=["list", "bytes", "text", "device", "sparse"],
)
def test_what_has_no_dense_elements_here_is_refused(
    system: str, array: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        shared_copy(array)


class Numbers(torch.utils.data.Dataset[Any]):
    """Batches of a row a number, filled with it, by way of one array; and what a worker holds."""

    def __init__(self) -> None:
        self._rows = numpy.empty((4, MEGABYTE), numpy.uint8)

    def __len__(self) -> int:
        return 40

    def __getitems__(self, indices: list[int]) -> Any:
        rows = self._rows[: len(indices)]
        rows[:] = numpy.array(indices)[:, None]
        held = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        return shared_copy(rows), held


def itself(batch: Any) -> Any:
    return batch


@pytest.mark.forks
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_of_workers(system: str, workers: int) -> None:
    context = "fork" if workers else None
    loader = torch.utils.data.DataLoader(
        Numbers(), 4, num_workers=workers, multiprocessing_context=context, collate_fn=itself
    )
    number = 0
    most = []
    for batch, held in loader:
        assert batch.shape == (4, MEGABYTE)
        for row in batch:
            assert bool((row == number).all())
            number += 1
        most.append(held)
        del batch, row
    assert number == 40
    # A worker keeps what is on its way to the reader, two batches, and lets go of all others.
    assert max(most) - most[0] <= 8


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no memfd_create")
def test_nothing_is_kept_of_a_copy() -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(100):
        shared_copy(numpy.zeros(100, numpy.uint8))
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no memfd_create")
def test_no_descriptor_is_left() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    rows = numpy.arange(5)
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 10, hard))
    try:
        with pytest.raises((OSError, RuntimeError), match=r"open files|file descriptor"):
            held.extend(shared_copy(rows) for _ in range(20))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    held.append(shared_copy(rows))
    assert all(copy.tolist() == list(range(5)) for copy in held)
    assert 5 < len(held) < 20
