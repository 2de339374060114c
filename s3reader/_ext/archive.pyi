from collections.abc import Callable
from typing import final

from typing_extensions import Buffer

from .landing import Landing

class Unusual(Exception): ...

class Damaged(Exception):
    record: Record
    found: int
    def __init__(self, record: Record, found: int) -> None: ...

@final
class Record:
    @property
    def name(self) -> str: ...
    @property
    def crc(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def stop(self) -> int: ...

def read_directory(landing: Landing) -> list[Record]: ...
def verify(landing: Landing, records: list[Record], crc: Callable[[Buffer, int], int]) -> int: ...
