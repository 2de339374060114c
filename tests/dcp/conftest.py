"""Checkpoints that torch wrote, as objects of the test's S3."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from alone import ALONE
from servers.embedded_s3 import S3

from s3reader import S3ReaderConstructor
from s3reader.dcp import S3StorageReader

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Old torch warns of itself when it saves."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings("ignore:TypedStorage is deprecated"))


CONSTRUCTORS = {
    "optimized": S3ReaderConstructor.dcp_optimized,
    "sequential": S3ReaderConstructor.sequential,
    "ranged": S3ReaderConstructor.range_based,
}


@pytest.fixture
def upload(s3: S3, bucket: str) -> Callable[[Path], str]:
    """Puts a folder's files where a test alone finds them; returns the checkpoint's URI."""

    def put(folder: Path) -> str:
        prefix = f"run-{secrets.token_hex(4)}/step-1"
        for file in folder.iterdir():
            s3.put(bucket, f"{prefix}/{file.name}", file.read_bytes())
        return f"s3://{bucket}/{prefix}"

    return put


@pytest.fixture
def save(tmp_path: Path, upload: Callable[[Path], str]) -> Callable[..., str]:
    """Saves a state with torch's own writer; options go to it. Returns the checkpoint's URI."""

    def put(state: dict[str, Any], **options: Any) -> str:
        folder = tmp_path / secrets.token_hex(4)
        writer = dcp.FileSystemWriter(folder, **options)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            dcp.save(state, storage_writer=writer, **ALONE)
        return upload(folder)

    return put


@pytest.fixture
def reader_of(client: Any) -> Callable[..., S3StorageReader]:
    """Makes a storage reader over `client`."""

    def make(uri: Any, **options: Any) -> S3StorageReader:
        return S3StorageReader(None, uri, client=client, **options)

    return make


@pytest.fixture(params=CONSTRUCTORS)
def constructor(request: pytest.FixtureRequest) -> Any:
    """Each of the three readers' constructors."""
    return CONSTRUCTORS[request.param]()
