from typing import Final

FLOOR: Final[tuple[int, int, int]]
source: Final[str]
path: Final[str]
version: Final[str]
ssl_version: Final[str]
