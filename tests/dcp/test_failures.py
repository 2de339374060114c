"""Checkpoints that are not right: errors that name what, on every rank, without hanging."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ranks
import torch
import torch.distributed.checkpoint as dcp
from alone import ALONE
from servers.scripted import object_script
from torch.distributed.checkpoint.api import CheckpointException

from s3reader import (
    AccessDeniedError,
    IncompleteDataError,
    ObjectChangedError,
    ObjectNotFoundError,
    S3ClientConfig,
    S3ReaderConstructor,
)
from s3reader.dcp import CheckpointCorruptError, S3StorageReader

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is")


def failure(reader: Any, target: dict[str, Any] | None = None) -> BaseException:
    """What a load raises on the one rank."""
    target = {"weights": torch.zeros(1000)} if target is None else target
    with pytest.raises(CheckpointException) as caught:
        dcp.load(target, storage_reader=reader, **ALONE)
    error: BaseException = caught.value.failures[0][0]
    return error


@pytest.fixture
def uri(save: Any) -> str:
    made: str = save({"weights": torch.randn(1000), "bias": torch.randn(9)})
    return made


def place(uri: str) -> tuple[str, str]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    return bucket, f"{prefix}/__0_0.distcp"


@pytest.fixture(params=["optimized", "sequential"])
def reader(request: pytest.FixtureRequest, reader_of: Any, uri: str) -> Any:
    constructor = None if request.param == "optimized" else S3ReaderConstructor.sequential()
    return reader_of(uri, reader_constructor=constructor)


def test_missing_file(s3: Any, uri: str, reader: Any) -> None:
    bucket, key = place(uri)
    s3.boto.delete_object(Bucket=bucket, Key=key)
    error = failure(reader)
    assert isinstance(error, ObjectNotFoundError)
    assert f"checkpoint {uri}" in str(error)
    assert "__0_0.distcp" in str(error)


def test_missing_checkpoint(uri: str, reader_of: Any) -> None:
    error = failure(reader_of(f"{uri}-elsewhere"))
    assert f"the metadata of checkpoint {uri}-elsewhere" in str(error)
    assert "A checkpoint is complete once its .metadata is there" in str(error)


def test_missing_file_says_which_tensors(s3: Any, uri: str, reader_of: Any) -> None:
    bucket, key = place(uri)
    s3.boto.delete_object(Bucket=bucket, Key=key)
    error = failure(reader_of(uri))
    assert "'weights' from __0_0.distcp" in str(error)
    assert "was it deleted" in str(error)


def test_truncated_file(s3: Any, uri: str, reader_of: Any) -> None:
    bucket, key = place(uri)
    data = s3.boto.get_object(Bucket=bucket, Key=key)["Body"].read()
    for count in (len(data) - 1, len(data) // 2, 10, 0):
        s3.put(bucket, key, data[:count])
        error = failure(reader_of(uri), {"weights": torch.zeros(1000), "bias": torch.zeros(9)})
        assert isinstance(error, IncompleteDataError), count
        assert f"has only {count} bytes" in str(error)
        assert "'weights', 'bias' from __0_0.distcp" in str(error)


def test_any_flipped_byte_of_a_bytes_item_is_told_with_its_name(
    s3: Any, save: Any, reader_of: Any
) -> None:
    uri = save({"step": {"a": [1, 2, 3]}})
    bucket, key = place(uri)
    data = s3.boto.get_object(Bucket=bucket, Key=key)["Body"].read()
    told = 0
    for at in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[at] ^= 0x40
        s3.put(bucket, key, damaged)
        target = {"step": {"a": [0, 0, 0]}}
        try:
            dcp.load(target, storage_reader=reader_of(uri), **ALONE)
        except CheckpointException as caught:
            error = caught.failures[0][0]
            assert isinstance(error, CheckpointCorruptError), (at, error)
            assert "__0_0.distcp" in str(error)
            assert "step" in str(error)
            told += 1
        else:
            assert target == {"step": {"a": [1, 2, 3]}}, at
    assert told > 40  # the others are padding, times and other things that nobody reads


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_corrupt_metadata(s3: Any, uri: str, reader_of: Any, damage: str) -> None:
    bucket, key = place(uri)
    key = key.replace("__0_0.distcp", ".metadata")
    data = bytearray(s3.boto.get_object(Bucket=bucket, Key=key)["Body"].read())
    if damage == "flip":
        data[2] ^= 0xFF
    damaged = {"cut": data[: len(data) // 2], "flip": data, "empty": b"", "text": b"not a pickle"}
    s3.put(bucket, key, bytes(damaged[damage]))
    assert f"the metadata of checkpoint {uri}" in str(failure(reader_of(uri)))
    with pytest.raises(CheckpointCorruptError, match="damaged"):
        reader_of(uri).read_metadata()


def scripted_reader(scripted: Any, answer: Any, **options: Any) -> S3StorageReader:
    server = scripted(answer)
    config = S3ClientConfig(unsigned=True, part_size=4096, max_attempts=2)
    return S3StorageReader(
        None, "s3://bucket/step", config, endpoint=f"http://127.0.0.1:{server.port}", **options
    )


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """A checkpoint's files by name; its one tensor spans several parts."""
    dcp.save({"weights": torch.randn(10_000)}, checkpoint_id=tmp_path / "one", **ALONE)
    return {file.name: file.read_bytes() for file in (tmp_path / "one").iterdir()}


def test_file_changed_while_it_is_read(scripted: Any, files: dict[str, bytes]) -> None:
    data = files["__0_0.distcp"]
    before, after = object_script(data, '"one"'), object_script(data, '"two"')
    metadata = object_script(files[".metadata"], '"m"')

    def answer(request: Any) -> Any:
        if request.target.endswith(".metadata"):
            return metadata(request)
        return (before if request.range[0] < 20_000 else after)(request)

    reader = scripted_reader(scripted, answer)
    with contextlib.closing(reader.fs.client):
        error = failure(reader, {"weights": torch.zeros(10_000)})
    assert isinstance(error, ObjectChangedError)
    assert "'weights' from __0_0.distcp of checkpoint s3://bucket/step" in str(error)
    assert "that nobody writes to" in str(error)


def test_permission_lost_while_it_is_read(scripted: Any, files: dict[str, bytes]) -> None:
    from servers.faults import status

    data = object_script(files["__0_0.distcp"], '"one"')
    metadata = object_script(files[".metadata"], '"m"')

    def answer(request: Any) -> Any:
        if request.target.endswith(".metadata"):
            return metadata(request)
        if request.range[0] < 20_000:
            return data(request)
        return status(403, "AccessDenied")(request, data(request))

    reader = scripted_reader(scripted, answer)
    with contextlib.closing(reader.fs.client):
        error = failure(reader, {"weights": torch.zeros(10_000)})
    assert isinstance(error, AccessDeniedError)
    assert "'weights' from __0_0.distcp" in str(error)


@pytest.mark.parametrize("cooperative", [False, True])
def test_every_rank_hears_of_a_missing_file(
    s3: Any, tmp_path: Path, upload: Any, cooperative: bool
) -> None:
    """Only some ranks read the file that is gone; none of them hangs."""
    folder = tmp_path / "checkpoint"
    ranks.run_ranks(2, ranks.save_sharded, str(folder))
    uri = upload(folder)
    bucket, key = place(uri)
    s3.boto.delete_object(Bucket=bucket, Key=key.replace("__0_0", "__1_0"))
    maker = partial(
        S3StorageReader,
        s3.region,
        uri,
        S3ClientConfig(credentials=s3.credentials),
        endpoint=s3.endpoint,
        cooperative=cooperative,
    )
    for result in ranks.run_ranks(2, ranks.load_sharded, maker):
        assert isinstance(result, RuntimeError)
        assert f"__1_0.distcp of checkpoint {uri}" in str(result)
