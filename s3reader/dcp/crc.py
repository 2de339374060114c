"""CRC-32 of what arrives: isal's where it is installed, else zlib's."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any


def _fastest() -> Callable[[Any, int], int]:
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.crc32
    found: Callable[[Any, int], int] = isal_zlib.crc32
    return found


crc32 = _fastest()
"""``crc32(data, value)``: the checksum of ``data`` after bytes whose checksum is ``value``."""
