"""Libraries that read files read these readers, on a caller's streams and on the library's own."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from make_readers import checkpoint, ranged, sequential
from sources import ForeignSource, MemorySource, Source
from torch.distributed.checkpoint.utils import _create_file_view

Open = Callable[[bytes], Any]
ROWS = np.random.default_rng(1).integers(0, 255, (300, 64), np.uint8)


def window(source: Source) -> Any:
    return sequential(source, window=20_000)


def small_buffer(source: Source) -> Any:
    return ranged(source, buffer_size=500)


def unbuffered(source: Source) -> Any:
    return ranged(source, buffer_size=0)


def foreign(data: bytes) -> Source:
    return ForeignSource(data, 5000, (bytes, bytearray, memoryview, "reused"))


def own(data: bytes) -> Source:
    return MemorySource(data, 5000)


@pytest.fixture(params=[sequential, window, ranged, small_buffer, unbuffered])
def make(request: pytest.FixtureRequest) -> Callable[[Source], Any]:
    made: Callable[[Source], Any] = request.param
    return made


@pytest.fixture(params=[foreign, own])
def open_over(request: pytest.FixtureRequest, make: Callable[[Source], Any]) -> Open:
    return lambda data: make(request.param(data))


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def test_numpy_load(open_over: Open) -> None:
    data = written(lambda file: np.save(file, ROWS))
    assert (np.load(open_over(data)) == ROWS).all()
    packed = written(lambda file: np.savez(file, rows=ROWS, more=ROWS[:3]))
    with np.load(open_over(packed)) as arrays:
        assert (arrays["rows"] == ROWS).all()
        assert (arrays["more"] == ROWS[:3]).all()


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_load(open_over: Open, zipped: bool) -> None:
    state = {"weight": torch.arange(5000.0), "step": 7}
    data = written(lambda file: torch.save(state, file, _use_new_zipfile_serialization=zipped))
    loaded = torch.load(open_over(data), weights_only=True)
    assert torch.equal(loaded["weight"], state["weight"])
    assert loaded["step"] == 7


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_load(open_over: Open, protocol: int) -> None:
    first, second = {"rows": ROWS.tobytes(), "text": "line\n" * 500}, [1, 2.5, None]
    reader = open_over(pickle.dumps(first, protocol) + pickle.dumps(second, protocol))
    assert pickle.load(reader) == first
    assert pickle.load(reader) == second


def test_zipfile(open_over: Open) -> None:
    def write(file: io.BytesIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.txt", "hello\n" * 3000)
            archive.writestr("b.bin", ROWS.tobytes())

    with zipfile.ZipFile(open_over(written(write))) as archive:
        assert archive.testzip() is None
        assert archive.read("b.bin") == ROWS.tobytes()
        assert archive.open("a.txt").readlines() == [b"hello\n"] * 3000


@pytest.mark.parametrize("mode", ["", "gz"])
@pytest.mark.parametrize("stream", [True, False])
def test_tarfile(open_over: Open, mode: str, stream: bool) -> None:
    def write(file: io.BytesIO) -> None:
        with tarfile.open(fileobj=file, mode=f"w:{mode}") as archive:  # type: ignore[call-overload]
            for number in range(5):
                member = tarfile.TarInfo(f"{number}.bin")
                member.size = ROWS[number:].nbytes
                archive.addfile(member, io.BytesIO(ROWS[number:].tobytes()))

    how = f"r|{mode}" if stream else f"r:{mode}"
    with tarfile.open(fileobj=open_over(written(write)), mode=how) as archive:  # type: ignore[call-overload]
        for number, member in enumerate(archive):
            extracted = archive.extractfile(member)
            assert extracted.read() == ROWS[number:].tobytes()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_pillow(open_over: Open, kind: str) -> None:
    image = PIL.Image.fromarray(ROWS)
    data = written(lambda file: image.save(file, kind))
    expected = np.asarray(PIL.Image.open(io.BytesIO(data)))
    assert (np.asarray(PIL.Image.open(open_over(data))) == expected).all()


def test_parquet(open_over: Open) -> None:
    table = pa.table({"number": range(3000), "text": [str(n) for n in range(3000)]})
    data = written(lambda file: pq.write_table(table, file, row_group_size=500))
    assert pq.read_table(open_over(data)).equals(table)
    column = pq.ParquetFile(open_over(data)).read_row_group(3, ["text"])
    assert column.column("text").to_pylist() == [str(n) for n in range(1500, 2000)]


def test_buffered_reader(open_over: Open) -> None:
    data = ROWS.tobytes()
    buffered = io.BufferedReader(open_over(data), 1000)
    assert buffered.read(10) == data[:10]
    buffered.seek(5000)
    assert buffered.peek(1)[:1] == data[5000:5001]
    assert buffered.read() == data[5000:]
    assert buffered.seek(-3, io.SEEK_END) == len(data) - 3
    assert buffered.readlines() == io.BytesIO(data[-3:]).readlines()


def test_text_wrapper(open_over: Open) -> None:
    text = "".join(f"zeile {number} äöü €\r\n" for number in range(2000))
    wrapper = io.TextIOWrapper(open_over(text.encode()), encoding="utf-8", newline="")
    assert wrapper.readline() == "zeile 0 äöü €\r\n"
    cookie = wrapper.tell()
    rest = wrapper.read()
    assert "zeile 0 äöü €\r\n" + rest == text
    wrapper.seek(cookie)
    assert list(wrapper) == rest.splitlines(keepends=True)


def test_text_formats(open_over: Open) -> None:
    assert (
        json.load(open_over(json.dumps([1, {"a": None}] * 900).encode())) == [1, {"a": None}] * 900
    )
    lines = csv.reader(io.TextIOWrapper(open_over(b"a,b\r\n" * 3000), newline=""))
    assert list(lines) == [["a", "b"]] * 3000
    with gzip.open(open_over(gzip.compress(ROWS.tobytes()))) as unpacked:
        assert unpacked.read() == ROWS.tobytes()


@pytest.mark.parametrize("over", [foreign, own])
def test_checkpoint_items(over: Callable[[bytes], Source]) -> None:
    """A checkpoint reader's items, read as torch's own loader does: each through a window."""
    pieces = [
        written(lambda file, n=n: torch.save(torch.arange(n * 1000.0), file)) for n in range(1, 5)
    ]
    pieces += [pickle.dumps({"rows": ROWS.tobytes()}), written(lambda file: np.save(file, ROWS))]
    bounds = np.cumsum([0, *map(len, pieces)]).tolist()
    items = list(itertools.pairwise(bounds))
    source = over(b"".join(pieces))
    reader = checkpoint(source, *items)
    for number, (start, end) in enumerate(items[:4], 1):
        view = _create_file_view(reader, start, end - start)
        assert torch.equal(torch.load(view, weights_only=True), torch.arange(number * 1000.0))
    reader.seek(bounds[4])
    assert pickle.load(reader) == {"rows": ROWS.tobytes()}
    reader.seek(bounds[5])
    assert (np.load(reader) == ROWS).all()
    assert source.requests == [(0, bounds[-1])]
