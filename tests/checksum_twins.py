"""Checksums computed plainly, as they are defined; and objects that tell them as S3 does."""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib

from servers.faults import FaultyObject
from servers.scripted import Reply, Request

POLYNOMIALS = {
    "crc32": (0xEDB88320, 32),
    "crc32c": (0x82F63B78, 32),
    "crc64nvme": (0x9A6C9329AC4BC9B5, 64),
}
ALGORITHMS = ("crc32", "crc32c", "crc64nvme", "sha1", "sha256")


@functools.cache
def _table(polynomial: int) -> tuple[int, ...]:
    entries = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (polynomial if byte & 1 else 0)
        entries.append(byte)
    return tuple(entries)


def crc(name: str, data: bytes | memoryview, before: int = 0) -> int:
    """The CRC of ``data`` after bytes whose CRC is ``before``."""
    polynomial, bits = POLYNOMIALS[name]
    table = _table(polynomial)
    ones = (1 << bits) - 1
    value = before ^ ones
    for byte in memoryview(data):
        value = value >> 8 ^ table[(value ^ byte) & 255]
    return value ^ ones


def checksum(name: str, data: bytes) -> str:
    """The checksum as S3 writes it."""
    if name in POLYNOMIALS:
        value = crc(name, data).to_bytes(POLYNOMIALS[name][1] // 8, "big")
    else:
        value = hashlib.new(name, data).digest()
    return base64.b64encode(value).decode()


class ChecksummedObject(FaultyObject):
    """Serves an object with its checksums, to those who ask and where S3 tells them.

    `told` are the headers' values by algorithm; `flipped` is the offset of a byte that is sent
    wrong, while it is not None; `on_every_range` tells the object's checksums with each range too,
    as some servers do.
    """

    def __init__(
        self, data: bytes, algorithm: str = "crc32", kind: str | None = "FULL_OBJECT"
    ) -> None:
        super().__init__(data)
        self.told = {algorithm: checksum(algorithm, data)}
        self.kind = kind
        self.flipped: int | None = None
        self.on_every_range = False

    def __call__(self, request: Request) -> Reply:
        reply = super().__call__(request)
        if reply.status not in (200, 206):
            return reply
        headers, body = dict(reply.headers), reply.body
        start = (request.range or (0, None))[0]
        whole = len(body) == len(self.data)
        asked = request.headers.get("x-amz-checksum-mode") == "ENABLED"
        if asked and (whole or self.on_every_range):
            headers.update({f"x-amz-checksum-{name}": text for name, text in self.told.items()})
            if self.kind is not None:
                headers["x-amz-checksum-type"] = self.kind
        if self.flipped is not None and start <= self.flipped < start + len(body):
            spoilt = bytearray(body)
            spoilt[self.flipped - start] ^= 4
            body = bytes(spoilt)
        return dataclasses.replace(reply, headers=headers, body=body)
