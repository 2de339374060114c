from typing import Final, final

from typing_extensions import Self

ALGORITHM: Final[str]
EMPTY_BODY_SHA256: Final[str]
DERIVED_KEYS_KEPT: Final[int]
RESERVED_HEADERS: Final[frozenset[str]]

@final
class PathSigner:
    def __new__(
        cls,
        method: str,
        host: str,
        query: str,
        headers: list[tuple[str, str]],
        access_key: str,
        secret_key: str,
        token: str | None,
        region: str,
        now: float,
        service: str = "s3",
    ) -> Self: ...
    @property
    def headers(self) -> list[tuple[str, str]]: ...
    def authorization(self, path: str) -> str: ...

def sign(
    method: str,
    host: str,
    path: str,
    query: str,
    headers: list[tuple[str, str]],
    access_key: str,
    secret_key: str,
    token: str | None,
    region: str,
    now: float,
    service: str = "s3",
) -> list[tuple[str, str]]: ...
def canonical_query(pairs: list[tuple[str, str]]) -> str: ...
