"""What fuzzing begins with: for each target the inputs that are kept, and words to put into them.

Inputs with a name of their own are files in ``fuzz/corpus/<target>``, one for each rule or mended
fault. What coverage found to be worth keeping is many and has no names: it is in
``fuzz/corpus/<target>.zip``.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

CORPUS = Path(__file__).parent / "fuzz" / "corpus"
LONGEST = 20_000  # bytes of an input
NAMES = ("answers", "heads", "errors", "pages", "ranges", "chunks", "crc", "signer")
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every archived input, so that the same ones give the same file

HTTP_TOKENS = (
    b"\r\n", b"\n", b"\r\n\r\n", b": ", b"\0", b"\xff\xfe", b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 ", b"HTTP/2 ", b" 204 ", b" 304 ", b" 416 ", b" 503 ",
    b"Transfer-Encoding: chunked\r\n", b"Content-Encoding: gzip\r\n", b"Content-Length: 10\r\n",
    b"Content-Range: bytes 0-4095/8292\r\n", b"Content-Range: bytes */0\r\n", b"ETag: \"x\"\r\n",
    b"Location: http://127.0.0.1:1/\r\n", b"Retry-After: 0\r\n", b"Connection: keep-alive\r\n",
    b"Date: Sat, 00 Jan 0000 00:00:00 GMT\r\n", b"x-amz-bucket-region: eu-west-1\r\n",
    b"x-amz-checksum-crc32: AAAAAA==\r\n", b"x-amz-checksum-type: FULL_OBJECT\r\n", b"A" * 3000,
)  # fmt: skip
XML_TOKENS = (
    b"<Error>", b"</Error>", b"<Code>", b"</Code>", b"<Key>", b"</Key>", b"<Size>", b"<![CDATA[",
    b"<!DOCTYPE x [<!ENTITY a 'b'>]>", b"&a;", b"&#0;", b"&#x110000;", b"&amp;", b"<!--", b"-->",
    b"<?xml version='1.0' encoding='UTF-16'?>", b"<?xml version='1.0' encoding='x'?>", b"\0",
    b"%zz", b"%00", b"+", b"<a><b><c>", b"<a " + b"b='c' " * 50 + b"/>", b"<" * 100,
)  # fmt: skip
PLAIN_TOKENS = (b"\0" * 8, b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\x80" + b"\0" * 7)
PLAIN_SEEDS = (bytes(range(256)), bytes(64), b"\xff" * 64, bytes(range(0, 256, 3)) * 3)


def tokens_of(name: str) -> Sequence[bytes]:
    """Words that mean something to a target."""
    return {
        "answers": HTTP_TOKENS, "heads": HTTP_TOKENS, "errors": XML_TOKENS, "pages": XML_TOKENS,
    }.get(name, PLAIN_TOKENS)  # fmt: skip


def named_seeds(name: str) -> list[bytes]:
    """The inputs with names; a little of everything for a target that takes plain bytes."""
    folder = CORPUS / name
    return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []


def seeds_of(name: str) -> list[bytes]:
    """All that is kept for a target."""
    seeds = named_seeds(name) or list(PLAIN_SEEDS)
    archive = CORPUS / f"{name}.zip"
    if archive.exists():
        with zipfile.ZipFile(archive) as found:
            seeds += [found.read(each) for each in sorted(found.namelist())]
    return seeds


def keep(name: str, inputs: Iterable[bytes]) -> int:
    """Keep these in place of what was found before; returns how many there are."""
    known = {*named_seeds(name), *PLAIN_SEEDS}
    kept = {hashlib.sha1(data).hexdigest()[:16]: data for data in inputs if data not in known}
    with zipfile.ZipFile(CORPUS / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as found:
        for each in sorted(kept):
            found.writestr(zipfile.ZipInfo(each, EPOCH), kept[each], zipfile.ZIP_DEFLATED)
    return len(kept)
