"""Checksums of whole objects: which S3 tells, which can be verified, and who computes them.

S3 keeps one checksum with an object and tells it to those who ask with ``x-amz-checksum-mode``. A
full-object checksum is of the bytes. A composite one, of objects uploaded in parts, is a checksum
of the parts' checksums, which the bytes alone do not give: it is recognised and left alone
(Amazon S3 User Guide, "Checking object integrity").

CRC-32 comes from isal where that is installed, else from zlib; CRC-32C and CRC-64/NVME from
awscrt (``pip install s3reader[checksums]``); SHA-1 and SHA-256 from hashlib. All of them release
the GIL, and nothing is imported before an object needs it.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import importlib
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import IncompleteDataError
from .forks import whole

if TYPE_CHECKING:
    from typing_extensions import Buffer

ASK: tuple[tuple[str, str], ...] = (("x-amz-checksum-mode", "ENABLED"),)
"""The header of a GET or HEAD that wants to be told checksums."""

Update = Callable[["Buffer", int], int]


class Algorithm(NamedTuple):
    """What the library knows of an algorithm.

    Args:
        name: as S3's header has it.
        title: as people write it.
        size: bytes of a value.
        polynomial: of a CRC, reflected; 0 for a hash.
        sources: of a CRC, modules and functions that compute it, the best first.
    """

    name: str
    title: str
    size: int
    polynomial: int = 0
    sources: tuple[tuple[str, str], ...] = ()


# In the order of preference: by their cost a byte.
ALGORITHMS = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm(
            "crc64nvme",
            "CRC-64/NVME",
            8,
            0x9A6C9329AC4BC9B5,
            (("awscrt.checksums", "crc64nvme"),),
        ),
        Algorithm("crc32c", "CRC-32C", 4, 0x82F63B78, (("awscrt.checksums", "crc32c"),)),
        Algorithm(
            "crc32",
            "CRC-32",
            4,
            0xEDB88320,
            (("isal.isal_zlib", "crc32"), ("zlib", "crc32")),
        ),
        Algorithm("sha1", "SHA-1", 20),
        Algorithm("sha256", "SHA-256", 32),
    )
}


class Checksum(NamedTuple):
    """What S3 told about the bytes of a whole object.

    Args:
        algorithm: its name in `ALGORITHMS`; None where S3 told none.
        type: "FULL_OBJECT" or "COMPOSITE"; None where neither was told nor follows.
        text: the value in base64, as S3 told it.
        reason: why it cannot be verified; "" where it can.
    """

    algorithm: str | None
    type: str | None
    text: str
    reason: str


class ChecksumError(IncompleteDataError):
    """The bytes of an object are not those that its checksum is of.

    Args:
        algorithm: "crc32", "crc32c", "crc64nvme", "sha1" or "sha256".
        expected, computed: both values in base64.
        message, context: as of every `S3Exception`.
    """

    def __init__(
        self,
        message: str,
        *,
        algorithm: str | None = None,
        expected: str | None = None,
        computed: str | None = None,
        **context: Any,
    ) -> None:
        super().__init__(message, **context)
        self.algorithm = algorithm
        self.expected = expected
        self.computed = computed


@functools.cache
def crc_function(name: str) -> Update | None:
    """What computes a CRC, called with bytes and the CRC of those before; None if nothing does."""
    for module, function in ALGORITHMS[name].sources:
        try:
            with whole:
                found: Update = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError):
            continue
        return found
    return None


def new_hash(name: str) -> hashlib._Hash:
    """A hash object for an algorithm that is no CRC. Used against accidents, not attackers."""
    return hashlib.new(name, usedforsecurity=False)


def encode(value: bytes) -> str:
    """A value as S3 writes it."""
    return base64.b64encode(value).decode()


def choose(told: Mapping[str, str], kind: str | None, etag: str) -> Checksum:
    """The checksum to hold an object's bytes to.

    Args:
        told: what a response about the whole object told, by algorithm, in base64.
        kind: its ``x-amz-checksum-type``.
        etag: its version's tag, which shows whether it was uploaded in parts.
    """
    best: Checksum | None = None
    for name in ALGORITHMS:
        if name in told:
            checksum = _judge(name, told[name], kind, etag)
            if not checksum.reason:
                return checksum
            best = best or checksum
    if best is not None:
        return best
    reason = f"S3 told {', '.join(told)}, which is not known here" if told else NONE_TOLD
    return Checksum(None, None, "", reason)


NONE_TOLD = (
    "no response told the object's checksum: S3 tells it with a HEAD or a GET of the whole object"
)
"""Why nothing is verified, most of the time."""


def _judge(name: str, text: str, kind: str | None, etag: str) -> Checksum:
    algorithm = ALGORITHMS[name]
    if "-" in text or kind == "COMPOSITE":
        return Checksum(
            name, "COMPOSITE", text, "a composite checksum is of the parts' checksums, not of bytes"
        )
    # Asked with a range, S3 tells composite checksums without their "-N" (seen by others with
    # "bytes=0-"), and older servers tell no type. CRC-64/NVME is never composite.
    if kind != "FULL_OBJECT" and name != "crc64nvme" and re.search(r'-\d+"?$', etag):
        return Checksum(
            name, kind, text, "uploaded in parts and no type told: the checksum may be composite"
        )
    if _value(text, algorithm.size) is None:
        return Checksum(
            name, kind, text, f"{text!r} is no {algorithm.title} of {algorithm.size} bytes"
        )
    if algorithm.polynomial and crc_function(name) is None:
        return Checksum(
            name,
            "FULL_OBJECT",
            text,
            f"nothing here computes {algorithm.title}: pip install s3reader[checksums]",
        )
    return Checksum(name, "FULL_OBJECT", text, "")


def _value(text: str, size: int) -> bytes | None:
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return value if len(value) == size else None
