from typing import NamedTuple

class Merged(NamedTuple):
    start: int
    end: int
    first: int
    last: int

def validate(start: int, end: int) -> None: ...
def merge(ranges: list[tuple[int, int]], gap: float) -> list[Merged]: ...
def split(start: int, end: int, part_size: int) -> list[tuple[int, int]]: ...
