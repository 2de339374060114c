"""s3fs: `cat_file`, `cat` and `cat_ranges`, which fetch in parallel on its own event loop."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from contenders.contender import PART, Contender, Place, ReadAt, parts_of


class S3fs(Contender):
    """Needs an interpreter of its own: aiobotocore pins an older botocore than boto3's newest."""

    name = "s3fs"
    peer = "s3fs"
    module = "s3fs"
    environment = "s3fs"
    cannot: ClassVar = {
        "chunks": "has no stream; its file is read in blocks, see readinto",
        "dataset": "has no dataset",
    }

    def __init__(self, place: Place) -> None:
        import s3fs

        super().__init__(place)
        self._library = s3fs
        arguments: dict[str, Any] = {"region_name": "us-east-1"}
        if place.authority:
            arguments["verify"] = place.authority
        self._files: Any = s3fs.S3FileSystem(
            endpoint_url=place.endpoint,
            client_kwargs=arguments,
            config_kwargs={"s3": {"addressing_style": "path"}, "max_pool_connections": 64},
            skip_instance_cache=True,
            use_listings_cache=False,
        )

    def version(self) -> str:
        return str(self._library.__version__)

    def _path(self, key: str) -> str:
        return f"{self.place.bucket}/{key}"

    def readinto(self, key: str, view: memoryview) -> None:
        starts, pieces = zip(*parts_of(view), strict=True)
        got = self.ranges(key, starts, pieces)
        for piece, data in zip(pieces, got, strict=True):
            piece[:] = data

    def small(self, key: str, view: memoryview) -> None:
        view[:] = self._files.cat_file(self._path(key))

    def read(self, key: str) -> Any:
        return self._files.cat_file(self._path(key))

    def file(self, key: str) -> AbstractContextManager[Any]:
        file: AbstractContextManager[Any] = self._files.open(
            self._path(key), "rb", block_size=PART, cache_type="readahead"
        )
        return file

    def pread(self, key: str) -> ReadAt:
        path = self._path(key)

        def read_at(start: int, view: memoryview) -> Any:
            return self._files.cat_file(path, start=start, end=start + len(view))

        return read_at

    def ranges(self, key: str, starts: Sequence[int], views: Sequence[memoryview]) -> Any:
        ends = [start + len(view) for start, view in zip(starts, views, strict=True)]
        return self._files.cat_ranges([self._path(key)] * len(ends), list(starts), ends)

    def many(self, keys: Sequence[str], rows: Any) -> Any:
        paths = [self._path(key) for key in keys]
        got = self._files.cat(paths)
        return [got[path] for path in paths]

    def buffered(self, key: str, size: int) -> Any:
        file = self._files.open(self._path(key), "rb", block_size=size, cache_type="readahead")
        file.read(1)
        file.seek(0)
        return file

    def cold(self, key: str) -> None:
        self._files.cat_file(self._path(key), start=0, end=1)
