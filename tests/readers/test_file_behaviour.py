"""What every reader does as a file: closing, pickling, checking arguments, and empty objects."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from make_readers import checkpoint, ranged, sequential
from sources import ForeignSource, MemorySource

from s3reader.ranged import RangedS3Reader
from s3reader.s3reader import S3Reader
from s3reader.sequential import SequentialS3Reader

MIB = 1024 * 1024
DATA = np.random.default_rng(3).bytes(3 * MIB)


READERS = [sequential, ranged, checkpoint]
CLAMPING = [sequential, ranged]
every_reader = pytest.mark.parametrize("make", READERS)
clamping_reader = pytest.mark.parametrize("make", CLAMPING)
every_source = pytest.mark.parametrize("kind", [ForeignSource, MemorySource])


@every_reader
@every_source
def test_construction_asks_nothing(make: Callable[..., S3Reader], kind: type[Any]) -> None:
    source = kind(DATA)
    reader = make(source)
    assert isinstance(reader, S3Reader)
    assert (reader.bucket, reader.key) == ("bucket", "key")
    assert (reader.seekable(), reader.readable(), reader.writable()) == (True, True, False)
    assert reader.tell() == 0
    reader.close()
    assert source.requests == []
    assert source.infos == 0
    for name in ("bucket", "key"):
        with pytest.raises(AttributeError):
            setattr(reader, name, "other")


@pytest.mark.parametrize("cls", [SequentialS3Reader, RangedS3Reader])
def test_bucket_is_asked_for(cls: type[Any]) -> None:
    with pytest.raises(ValueError, match=r"^Bucket should be specified$"):
        cls("", "key", None, None)


@every_reader
@every_source
def test_closing_cancels_and_refuses(make: Callable[..., Any], kind: type[Any]) -> None:
    source = kind(DATA, 100)
    reader = make(source)
    reader.read(10)
    reader.close()
    reader.close()
    assert reader.closed
    assert source.closed == 1
    for use in (
        lambda: reader.read(1),
        lambda: reader.read(0),
        lambda: reader.read1(1),
        lambda: reader.readinto(bytearray(1)),
        lambda: reader.readinto(bytearray(0)),
        lambda: reader.readinto1(bytearray(1)),
        reader.peek,
        reader.readline,
        reader.readlines,
        lambda: next(reader),
        lambda: iter(reader),
        lambda: reader.seek(0),
        lambda: reader.seek(0, 1),
        reader.tell,
        reader.seekable,
        reader.readable,
        reader.writable,
        reader.flush,
        reader.isatty,
        reader.__enter__,
        lambda: pickle.dumps(reader),
    ):
        with pytest.raises(ValueError, match="I/O operation on closed file"):
            use()
    if make is sequential:
        with pytest.raises(ValueError, match="I/O operation on closed file"):
            reader.prefetch()


@every_reader
def test_with_closes(make: Callable[..., Any]) -> None:
    with make(ForeignSource(DATA)) as reader:
        assert reader.read(3) == DATA[:3]
    assert reader.closed


@every_reader
def test_what_a_read_only_file_does_not_do(make: Callable[..., Any]) -> None:
    reader = make(ForeignSource(DATA))
    for use in (
        reader.detach,
        reader.fileno,
        reader.truncate,
        lambda: reader.write(b"x"),
        lambda: reader.writelines([b"x"]),
    ):
        with pytest.raises(io.UnsupportedOperation):
            use()
    assert not reader.isatty()


@every_reader
@pytest.mark.parametrize("size", [1.0, "1", b"1", [], np.float32(2)])
def test_size_is_an_integer(make: Callable[..., Any], size: Any) -> None:
    reader = make(ForeignSource(DATA))
    reader.read(2)
    with pytest.raises(TypeError, match="argument should be integer or None, not <class"):
        reader.read(size)
    assert reader.tell() == 2


@clamping_reader
@every_source
def test_seek_arguments_are_checked(make: Callable[..., Any], kind: type[Any]) -> None:
    source = kind(DATA)
    reader = make(source)
    reader.read(2)
    asked = len(source.requests), source.infos
    for offset, whence in ((1.0, 0), ("1", 0), (None, 0), (1, "0"), (1, 0.0), (1, None)):
        with pytest.raises(TypeError, match="integer argument expected, got <class"):
            reader.seek(offset, whence)
    for whence in (3, -1, 10**30):
        with pytest.raises(ValueError, match="Seek must be passed SEEK_CUR, SEEK_SET, or SEEK_END"):
            reader.seek(0, whence)
    for offset, whence in ((-1, 0), (-3, 1), (-(10**30), 1)):
        with pytest.raises(ValueError, match="negative seek value -"):
            reader.seek(offset, whence)
    assert reader.tell() == 2
    assert (len(source.requests), source.infos) == asked


@clamping_reader
@every_source
def test_integers_of_any_kind_and_size(make: Callable[..., Any], kind: type[Any]) -> None:
    reader = make(kind(DATA))
    assert reader.read(np.int8(3)) == DATA[:3]
    assert reader.read(True) == DATA[3:4]
    assert reader.seek(np.uint64(7), np.int32(0)) == 7
    assert reader.read(10**30) == DATA[7:]
    assert reader.seek(10**30) == len(DATA)
    assert reader.read(-(10**30)) == b""
    assert reader.seek(True) == 1


@every_reader
@every_source
def test_refused_buffer_asks_nothing(make: Callable[..., Any], kind: type[Any]) -> None:
    source = kind(DATA)
    reader = make(source)
    for wrong in (b"x", "x", 5, None, memoryview(b"xx"), np.zeros(9)[::2], np.zeros((2, 3)).T):
        for use in (reader.readinto, reader.readinto1):
            with pytest.raises(TypeError, match=f"not (non-contiguous )?{type(wrong).__name__}"):
                use(wrong)
    assert source.requests == []
    assert source.infos == 0
    assert reader.tell() == 0


@every_reader
@every_source
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_place_and_drops_buffers(
    make: Callable[..., Any], kind: type[Any], protocol: int
) -> None:
    reader = make(kind(DATA, 5000))
    untouched = pickle.dumps(reader, protocol)
    reader.read(1000)
    pickled = pickle.dumps(reader, protocol)
    assert len(pickled) < len(untouched) + 1000
    again = pickle.loads(pickled)
    assert type(again) is type(reader)
    assert (again.bucket, again.key, again.tell()) == ("bucket", "key", 1000)
    assert again.read(500) == DATA[1000:1500]
    assert reader.read(500) == DATA[1000:1500]


@clamping_reader
@every_source
def test_empty_object(make: Callable[..., Any], kind: type[Any]) -> None:
    for use in (
        lambda reader: reader.read() == b"",
        lambda reader: reader.read(5) == b"",
        lambda reader: reader.readinto(bytearray(5)) == 0,
        lambda reader: reader.readline() == b"",
        lambda reader: reader.readlines() == [],
        lambda reader: reader.peek() == b"",
        lambda reader: reader.seek(0, 2) == 0,
        lambda reader: reader.seek(5) in (0, 5) and reader.read(1) == b"" and reader.tell() == 0,
    ):
        reader = make(kind(b""))
        assert use(reader)
        assert reader.read() == b""
        assert reader.tell() == 0
        with pytest.raises(ValueError, match="negative seek value -1"):
            reader.seek(-1, io.SEEK_END)


def test_reader_that_was_not_initialised_says_so() -> None:
    class Careless(SequentialS3Reader):
        def __init__(self) -> None:
            pass

    reader = Careless()
    assert reader.closed
    with pytest.raises(ValueError, match="Careless was not initialised"):
        reader.read()
