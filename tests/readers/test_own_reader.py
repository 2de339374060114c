"""A reader of one's own: what the abstract class gives it."""

from __future__ import annotations

import io

from s3reader import S3Reader


class InMemory(S3Reader):
    """The least that a reader has to define."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    @property
    def bucket(self) -> str:
        return "bucket"

    @property
    def key(self) -> str:
        return "key"

    def read(self, size: int | None = None) -> bytes:
        return self._file.read(size)

    def readinto(self, buf: bytearray) -> int:  # type: ignore[override]
        return self._file.readinto(buf)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def test_minimal_reader_is_a_read_only_seekable_file() -> None:
    with InMemory(b"one\ntwo\n") as reader:
        assert (reader.readable(), reader.seekable(), reader.writable()) == (True, True, False)
        assert reader.readlines() == [b"one\n", b"two\n"]
        reader.seek(4)
        assert io.TextIOWrapper(reader).read() == "two\n"
    assert reader.closed


def test_minimal_reader_counts_and_verifies_nothing() -> None:
    reader = InMemory(b"")
    assert reader.stats() == {}
    assert reader.integrity.verified == "none"
    assert reader.integrity.reason
