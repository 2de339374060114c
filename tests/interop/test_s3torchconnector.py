"""Side by side with s3torchconnector: our factory in its client, its streams in our readers."""

from __future__ import annotations

import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from s3torchconnector import S3ReaderConstructor as TheirConstructor
from s3torchconnector._s3client._mock_s3client import MockS3Client
from s3torchconnector.dcp import S3StorageReader
from s3torchconnector.dcp.s3_file_system import S3FileSystem
from s3torchconnector.s3reader import DCPS3ReaderConstructorProtocol as TheirProtocol
from s3torchconnectorclient._mountpoint_s3_client import S3Exception

from s3reader.constructor import S3ReaderConstructor
from s3reader.dcp_optimized import DCPOptimizedS3Reader, ItemRange
from s3reader.ranged import RangedS3Reader
from s3reader.sequential import SequentialS3Reader

# torch says so whenever a checkpoint is saved or loaded by one process.
pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")

BUCKET = "bucket"
DATA = np.random.default_rng(9).bytes(20 << 20)  # three of its parts


@pytest.fixture(scope="module")
def client() -> Any:
    client = MockS3Client("us-east-1", BUCKET)
    client.add_object("data.bin", DATA)
    client.add_object("empty", b"")
    return client


OURS = [
    S3ReaderConstructor.default(),
    S3ReaderConstructor.sequential(window=9 << 20),
    S3ReaderConstructor.range_based(),
    S3ReaderConstructor.range_based(buffer_size=100),
    S3ReaderConstructor.range_based(buffer_size=0),
]


@pytest.mark.parametrize("constructor", OURS)
def test_our_factory_in_its_client(client: Any, constructor: Any) -> None:
    with client.get_object(BUCKET, "data.bin", reader_constructor=constructor) as reader:
        assert type(reader) in (SequentialS3Reader, RangedS3Reader)
        assert reader.read(100) == DATA[:100]
        target = torch.empty(2 << 20, dtype=torch.int64).numpy()
        assert reader.readinto(target) == target.nbytes
        assert target.tobytes() == DATA[100:][: target.nbytes]
        assert reader.seek(-10, 2) == len(DATA) - 10
        assert reader.read() == DATA[-10:]
        reader.seek(5)
        assert reader.read(1000) == DATA[5:1005]
        reader.seek(0)
        assert reader.read() == DATA
    assert reader.closed


@pytest.mark.parametrize("constructor", OURS)
def test_empty_object_of_its_client(client: Any, constructor: Any) -> None:
    reader = client.get_object(BUCKET, "empty", reader_constructor=constructor)
    assert reader.read() == b""
    assert reader.readinto(bytearray(3)) == 0
    assert reader.seek(0, 2) == 0


@pytest.mark.parametrize("constructor", OURS)
def test_its_errors_reach_the_caller(client: Any, constructor: Any) -> None:
    reader = client.get_object(BUCKET, "absent", reader_constructor=constructor)
    with pytest.raises(S3Exception, match=r"not found|does not exist"):
        reader.read(1)
    assert reader.tell() == 0


def test_its_streams_in_our_checkpoint_reader(client: Any) -> None:
    items = [ItemRange(10, 9 << 20), ItemRange(9 << 20, 10 << 20), ItemRange(15 << 20, 20 << 20)]
    reader = DCPOptimizedS3Reader(
        BUCKET,
        "data.bin",
        items,
        partial(client.head_object, BUCKET, "data.bin"),
        partial(client._get_object_stream, BUCKET, "data.bin"),
        max_gap_size=1 << 20,
    )
    for item in items:
        target = np.zeros(item.end - item.start, "u1")
        reader.seek(item.start)
        assert reader.readinto(target) == len(target)
        assert target.tobytes() == DATA[item.start : item.end]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (S3ReaderConstructor.default(), TheirConstructor.default()),
        (S3ReaderConstructor.range_based(), TheirConstructor.range_based()),
        (S3ReaderConstructor.range_based(5000), TheirConstructor.range_based(5000)),
        (S3ReaderConstructor.range_based(0), TheirConstructor.range_based(0)),
    ],
)
def test_readers_agree_step_by_step(client: Any, ours: Any, theirs: Any) -> None:
    """The same random calls on both readers give the same results, refusals included."""
    steps = np.random.default_rng(4)
    pair = [client.get_object(BUCKET, "data.bin", reader_constructor=one) for one in (ours, theirs)]

    def outcome(reader: Any, name: str, *arguments: Any) -> object:
        try:
            return getattr(reader, name)(*arguments)
        except (TypeError, ValueError) as error:
            return type(error), str(error)

    for _ in range(150):
        name = steps.choice(["read", "read", "readinto", "seek", "tell"])
        size = int(steps.choice([0, 10, 7000, 3 << 20]))
        arguments: tuple[Any, ...]
        if name == "seek":
            offset = int(steps.integers(-(25 << 20), 25 << 20))
            arguments = (offset if steps.random() < 0.9 else 1.5, int(steps.integers(0, 4)))
        elif name == "read":
            arguments = (size if steps.random() < 0.9 else "10",)
        else:
            arguments = ()
        if name == "readinto":
            targets = [bytearray(size), bytearray(size)]
            counts = [outcome(*each) for each in zip(pair, (name, name), targets, strict=True)]
            assert counts[0] == counts[1]
            assert targets[0] == targets[1]
        else:
            results = [outcome(reader, str(name), *arguments) for reader in pair]
            assert results[0] == results[1], (name, arguments)
        assert pair[0].tell() == pair[1].tell()


@pytest.fixture(scope="module")
def checkpoint(client: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A checkpoint that torch wrote, as objects under ``check/``."""
    torch.manual_seed(1)
    state = {f"layer{n}": torch.randn(100 * n, 50) for n in range(1, 9)}
    state["tied"] = state["layer3"]
    folder = tmp_path_factory.mktemp("checkpoint")
    dcp.save(state, checkpoint_id=folder, no_dist=True)
    for file in folder.iterdir():
        client.add_object(f"check/{file.name}", file.read_bytes())
    return state


@pytest.mark.parametrize(
    "constructor",
    [
        S3ReaderConstructor.default(),
        S3ReaderConstructor.range_based(),
        S3ReaderConstructor.dcp_optimized(),
        S3ReaderConstructor.dcp_optimized(max_gap_size=0),
        S3ReaderConstructor.dcp_optimized(max_gap_size=float("inf")),
    ],
)
@pytest.mark.parametrize("wanted", [None, ["layer2", "layer7"], ["layer1", "tied"]])
def test_our_factory_in_its_storage_reader(
    client: Any, checkpoint: dict[str, Any], constructor: Any, wanted: list[str] | None
) -> None:
    names = wanted or list(checkpoint)
    loaded = {name: torch.zeros_like(checkpoint[name]) for name in names}
    storage = S3StorageReader("us-east-1", f"s3://{BUCKET}/check", reader_constructor=constructor)
    storage.fs = S3FileSystem("us-east-1", s3_client=client, reader_constructor=constructor)
    dcp.load(loaded, storage_reader=storage, no_dist=True)
    for name in names:
        assert torch.equal(loaded[name], checkpoint[name])


def test_its_storage_reader_takes_our_constructor_for_its_own() -> None:
    assert isinstance(S3ReaderConstructor.dcp_optimized(), TheirProtocol)
    assert pickle.loads(pickle.dumps(S3ReaderConstructor.dcp_optimized()))
