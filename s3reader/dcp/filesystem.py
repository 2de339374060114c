"""Torch's idea of a file system over S3: the reading half of it."""

from __future__ import annotations

import io
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn

import torch

from s3reader.client import S3Client
from s3reader.config import S3ClientConfig
from s3reader.constructor import S3ReaderConstructor
from s3reader.errors import ObjectNotFoundError
from s3reader.protocol import S3ReaderConstructorProtocol

from ._torch import FileSystemBase
from .paths import as_uri, split_uri

WRITING = (
    "s3reader reads checkpoints and does not write them. Save with torch's FileSystemWriter and "
    "upload the folder, or save with s3torchconnector.dcp.S3StorageWriter; either loads from here."
)


CONFIG = S3ClientConfig(throughput_target_gbps=14.0)
"""Of a client that is made here. While a checkpoint is loaded nothing else is read, so it has 25
connections, as many as s3torchconnector, where other clients have 18."""


class S3FileSystem(FileSystemBase):
    """Opens the files of a checkpoint. Makes no request before something is opened or asked.

    Args:
        region: of the bucket; by default where AWS users have it.
        s3_client: to share; by default one is made.
        s3client_config: settings of the client that is made; `CONFIG` by default.
        reader_constructor: which reader files are opened with; sequential by default.
        endpoint: URL of another S3, for the client that is made.

    Raises:
        TypeError: settings are given together with a client, which has its own.
    """

    def __init__(
        self,
        region: str | None = None,
        s3_client: S3Client | None = None,
        s3client_config: S3ClientConfig | None = None,
        reader_constructor: S3ReaderConstructorProtocol | None = None,
        *,
        endpoint: str | None = None,
    ) -> None:
        if s3_client is None:
            s3_client = S3Client(
                region,
                endpoint=endpoint,
                user_agent=f"dcp torch/{torch.__version__}",
                s3client_config=s3client_config or CONFIG,
            )
        elif s3client_config is not None or endpoint is not None:
            raise TypeError(
                "s3client_config and endpoint are given together with a client, which has its own"
            )
        self.client = s3_client
        self.reader_constructor = reader_constructor or S3ReaderConstructor.default()

    @contextmanager
    def create_stream(
        self, path: str | os.PathLike[str], mode: str
    ) -> Generator[io.IOBase, None, None]:
        """A reader of the file, closed at the end.

        Raises:
            io.UnsupportedOperation: any mode but "rb".
            ValueError: the path is no URI of S3.
        """
        if mode != "rb":
            _refuse(f"create_stream({as_uri(path)!r}, {mode!r})")
        bucket, key = split_uri(path)
        with self.client.get_object(
            bucket, key, reader_constructor=self.reader_constructor
        ) as reader:
            yield reader

    def concat_path(self, path: str | os.PathLike[str], suffix: str) -> str:
        """The URI of a file of a checkpoint."""
        return os.path.join(as_uri(path), suffix)

    def init_path(self, path: str | os.PathLike[str]) -> str:
        """The URI of a checkpoint, as text; a slash that a ``Path`` swallowed is put back."""
        return as_uri(path)

    def exists(self, path: str | os.PathLike[str]) -> bool:
        """Whether there is such an object, or any below it.

        Raises:
            S3Exception: S3 does not say, for want of permission or of a connection.
        """
        bucket, key = split_uri(path)
        try:
            if key and not key.endswith("/"):
                try:
                    self.client.head_object(bucket, key)
                    return True
                except ObjectNotFoundError:
                    key += "/"
            page = next(self.client.list_objects(bucket, key, max_keys=1))
        except ObjectNotFoundError:
            return False
        return bool(page.object_info)

    def ls(self, path: str | os.PathLike[str]) -> list[str]:
        """URIs of what lies directly below the path: objects, then folders.

        Raises:
            S3Exception: the listing failed.
        """
        bucket, key = split_uri(path)
        prefix = key if not key or key.endswith("/") else f"{key}/"
        objects: list[str] = []
        folders: list[str] = []
        for page in self.client.list_objects(bucket, prefix, "/"):
            objects += (info.key for info in page.object_info if info.key != prefix)
            folders += (folder.removesuffix("/") for folder in page.common_prefixes)
        return [f"s3://{bucket}/{name}" for name in objects + folders]

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Whether it names a place in S3."""
        try:
            split_uri(checkpoint_id)
        except (TypeError, ValueError):
            return False
        return True

    def rename(self, path: str | os.PathLike[str], new_path: str | os.PathLike[str]) -> None:
        """Refused: this file system is for reading."""
        _refuse(f"rename({as_uri(path)!r})")

    def mkdir(self, path: str | os.PathLike[str]) -> None:
        """Refused: this file system is for reading."""
        _refuse(f"mkdir({as_uri(path)!r})")

    def rm_file(self, path: str | os.PathLike[str]) -> None:
        """Refused: this file system is for reading."""
        _refuse(f"rm_file({as_uri(path)!r})")


def _refuse(what: str) -> NoReturn:
    raise io.UnsupportedOperation(f"{what}: {WRITING}")
