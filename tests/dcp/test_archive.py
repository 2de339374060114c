"""Archives as torch writes them, landings that they arrive in, and the memory these claim."""

from __future__ import annotations

import ctypes
import io
import itertools
import random
import struct
import zipfile
import zlib
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from s3reader._ext.archive import Damaged, Unusual, read_directory, verify
from s3reader._ext.landing import Landing, scatter
from s3reader._ext.scatter import Scatter
from s3reader.dcp.landing import Claims, span
from s3reader.dcp.tensor_header import read_header


def archive(value: Any) -> bytes:
    """What torch saves of a value."""
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


TENSOR = archive(torch.randn(33))


def landing_of(data: bytes, start: int = 0, count: int = 0, offset: int = 0) -> Landing:
    """A landing in which ``data`` has arrived, ``[start, start + count)`` of it at an owner's."""
    place = ctypes.create_string_buffer(max(1, count))
    landing = Landing(offset, len(data), start, count, ctypes.addressof(place), place)
    scatter([landing]).put(offset, data)
    return landing


def test_directory_is_what_zipfile_says() -> None:
    for start, count in ((0, 0), (0, len(TENSOR)), (704, 132), (100, 5), (3, len(TENSOR) - 4)):
        records = read_directory(landing_of(TENSOR, start, count))
        with zipfile.ZipFile(io.BytesIO(TENSOR)) as told:
            assert [record.name for record in records] == [
                name.partition("/")[2] for name in told.namelist()
            ]
            for record, info in zip(records, told.infolist(), strict=True):
                assert TENSOR[record.start : record.stop] == told.read(info)
                assert record.crc == info.CRC


def test_archive_with_large_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes and places in 64 bits, as archives of more than 4 GB have them."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 20)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for number in range(3):
            with made.open(f"archive/data/{number}", "w", force_zip64=True) as record:
                record.write(bytes([number]) * 100)
    records = read_directory(landing_of(file.getvalue()))
    assert [(r.name, r.stop - r.start) for r in records] == [(f"data/{n}", 100) for n in range(3)]
    for number, record in enumerate(records):
        assert file.getvalue()[record.start : record.stop] == bytes([number]) * 100
    assert verify(landing_of(file.getvalue()), records, zlib.crc32) == 300


def test_large_number_that_is_not_there_is_unusual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 20)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made, made.open("a/b", "w", force_zip64=True) as record:
        record.write(bytes(100))
    data = file.getvalue()
    at = data.index(b"PK\x01\x02") + 46 + len("a/b")
    for damage in (struct.pack("<HH", 1, 4), struct.pack("<HH", 2, 16), struct.pack("<HH", 1, 0)):
        with pytest.raises(Unusual, match="without its size"):
            read_directory(landing_of(data[:at] + damage + data[at + 4 :]))


@pytest.mark.parametrize("count", [0, 3, 21, 22, 40, 200, 500, 900, len(TENSOR) - 1])
def test_archive_cut_short_is_unusual(count: int) -> None:
    with pytest.raises(Unusual):
        read_directory(landing_of(TENSOR[:count]))


@pytest.mark.parametrize("kind", ["compressed", "comment", "empty", "crowded"])
def test_archive_that_torch_does_not_write_is_unusual(kind: str) -> None:
    file = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if kind == "compressed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", method) as made:
        for number in range({"empty": 0, "crowded": 65}.get(kind, 2)):
            made.writestr(f"a/{number}", bytes(100))
        made.comment = b"hello" if kind == "comment" else b""
    if kind == "empty":
        assert read_directory(landing_of(file.getvalue())) == []
    else:
        with pytest.raises(Unusual):
            read_directory(landing_of(file.getvalue()))


@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(TENSOR) - 1), st.integers(0, 255)), min_size=1, max_size=6
    ),
    at_the_end=st.booleans(),
)
def test_damaged_archive_is_unusual_or_within_itself(
    changes: list[tuple[int, int]], at_the_end: bool
) -> None:
    """Whatever is wrong with it, no byte outside is touched and nothing but Unusual is raised."""
    data = bytearray(TENSOR)
    for at, value in changes:
        data[len(data) - 1 - at % 600 if at_the_end else at] = value
    landing = landing_of(bytes(data), 704, 132)
    try:
        records = read_directory(landing)
    except Unusual:
        return
    for record in records:
        assert 0 <= record.start <= record.stop <= len(data)
    intact = all(zlib.crc32(data[r.start : r.stop]) == r.crc for r in records)
    if intact:
        assert verify(landing, records, zlib.crc32) == sum(r.stop - r.start for r in records)
    else:
        with pytest.raises(Damaged) as caught:
            verify(landing, records, zlib.crc32)
        record = caught.value.record
        assert caught.value.found == zlib.crc32(data[record.start : record.stop]) != record.crc


LENGTH = 60


@given(st.integers(0, LENGTH), st.integers(0, LENGTH), st.data())
def test_landing_against_the_bytes_that_it_has(one: int, other: int, data: st.DataObject) -> None:
    start, stop = sorted((one, other))
    item = random.Random(start).randbytes(LENGTH)
    landing = landing_of(item, start, stop - start, offset=1000)
    edges = st.integers(0, LENGTH)
    borders = sorted(data.draw(st.lists(edges, max_size=6)))
    pieces = list(itertools.pairwise(borders))
    for begin, end in data.draw(st.permutations(pieces)):  # as parts arrive, some of them not
        landing.sum(begin, end, zlib.crc32)
    for _ in range(4):
        first, last = sorted((data.draw(edges), data.draw(edges)))
        assert landing.read(first, last) == item[first:last]
        assert landing.checksum(first, last, zlib.crc32) == zlib.crc32(item[first:last])
    assert landing.checksum(start, stop, zlib.crc32) == zlib.crc32(item[start:stop])
    moved = data.draw(st.integers(0, LENGTH - (stop - start)))
    landing.move_to(moved)
    assert landing.read(start, stop) == item[moved : moved + stop - start]


def test_landing_refuses_what_is_not_in_it() -> None:
    landing = landing_of(bytes(30), 5, 10)
    for wrong in ((-1, 5), (5, 4), (0, 31)):
        with pytest.raises(ValueError, match="not in an item of 30"):
            landing.read(*wrong)
        with pytest.raises(ValueError, match="not in an item of 30"):
            landing.checksum(*wrong, zlib.crc32)
    for start in (-1, 21):
        with pytest.raises(ValueError, match="not in an item of 30"):
            landing.move_to(start)
    for numbers in ((0, 5, 6, 0), (0, 5, -1, 2), (0, 5, 3, 3), (-1, 5, 0, 0)):
        with pytest.raises(ValueError, match="not in an item of 5"):
            Landing(*numbers, 0, None)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=6), st.data())
def test_scatter_against_slices(widths: list[tuple[int, int]], data: st.DataObject) -> None:
    """Pieces with gaps between them, filled in any order of blocks."""
    memory = ctypes.create_string_buffer(b"." * 100, 100)
    expected = bytearray(memory.raw)
    pieces, at, used = [], 0, 0
    for gap, width in widths:
        start = at + gap
        pieces.append((start, start + width, ctypes.addressof(memory) + used))
        at, used = start + width, used + width
    item = random.Random(used).randbytes(at + 10)
    used = 0
    for start, stop, _ in pieces:
        expected[used : used + stop - start] = item[start:stop]
        used += stop - start
    made = Scatter(pieces, memory)
    assert len(made) == len(pieces)
    edges = sorted({0, len(item), *data.draw(st.lists(st.integers(0, len(item)), max_size=5))})
    blocks = list(itertools.pairwise(edges))
    for start, stop in data.draw(st.permutations(blocks)):
        made.put(start, item[start:stop])
    assert memory.raw == bytes(expected)


def test_landings_out_of_order_are_refused() -> None:
    first, second = landing_of(bytes(9)), landing_of(bytes(9), offset=8)
    with pytest.raises(ValueError, match="sorted and disjoint"):
        scatter([first, second])


@pytest.mark.parametrize(
    "value", [[1], {"a": torch.zeros(2)}, torch.zeros(3).to_sparse(), "text", torch.Size([1])]
)
def test_pickle_of_anything_else_is_unusual(value: Any) -> None:
    with zipfile.ZipFile(io.BytesIO(archive(value))) as file:
        pickled = file.read(next(n for n in file.namelist() if n.endswith("data.pkl")))
    with pytest.raises(Unusual):
        read_header(pickled)


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.",
        b"\x80\x02ctorch\nload\n.",
        b"\x80\x02].",
    ],
)
def test_pickle_that_reaches_out_is_refused(pickled: bytes) -> None:
    with pytest.raises(Unusual):
        read_header(pickled)


def test_claims_that_overlap_are_told() -> None:
    claims = Claims()
    assert claims.add(100, 150)
    assert claims.add(150, 160)
    assert claims.add(120, 120)
    assert not claims.add(149, 150)
    assert not claims.add(90, 101)
    claims.remove(90, 101)
    assert not claims.add(90, 590)
    assert not claims.add(400, 410)  # within what overlaps others
    claims.remove(400, 410)
    claims.remove(90, 590)
    assert claims.add(90, 100)
    assert not claims.add(100, 150)
    claims.remove(100, 150)
    claims.remove(100, 150)
    claims.remove(149, 150)
    claims.remove(120, 120)
    assert claims.add(100, 150)


def test_span_is_all_that_a_target_writes() -> None:
    base = torch.zeros(10, 10)
    start = base.data_ptr()
    assert span(base) == (start, start + 400)
    assert span(base[2:4]) == (start + 80, start + 160)
    assert span(base.t()) == (start, start + 400)
    assert span(base[:, 2:4]) == (start + 8, start + 376)
    assert span(base[:0]) == (0, 0)
    assert span(base.to("meta")) == (0, 0)
    assert span(base.to_sparse()) == (0, 0)
