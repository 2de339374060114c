"""Loads in one process: every kind of item and target, through every reader."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from alone import ALONE
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.planner import LoadItemType
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict_from_keys

from s3reader import S3Client, S3ClientConfig, S3ReaderConstructor
from s3reader.dcp import S3FileSystem, S3StorageReader

pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.distributed is"),
    pytest.mark.filterwarnings("ignore:.*[Cc]omplex"),
]

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.complex64, torch.complex128),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
    *(torch.uint16, torch.uint32, torch.uint64),
    *(torch.float8_e4m3fn, torch.float8_e5m2),
]


def bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist())


def random_tensor(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    raw = torch.randint(0, 100, (*shape, 1), dtype=torch.int64)
    return raw.squeeze(-1).to(torch.float32).to(dtype)


def model_state() -> dict[str, Any]:
    torch.manual_seed(3)
    state: dict[str, Any] = {f"layer{n}": torch.randn(20 * n, 30) for n in range(1, 7)}
    state["scalar"] = torch.tensor(3.5)
    state["empty"] = torch.empty(0, 4)
    state["step"] = 17
    state["loader"] = {"epoch": 3, "order": list(range(50))}
    return state


def zeros_like(state: dict[str, Any]) -> dict[str, Any]:
    return {
        name: torch.zeros_like(value) if isinstance(value, torch.Tensor) else None
        for name, value in state.items()
        if not isinstance(value, dict)
    } | {name: {} for name, value in state.items() if isinstance(value, dict)}


def assert_same(got: dict[str, Any], expected: dict[str, Any]) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert got[name].dtype == value.dtype
            assert got[name].shape == value.shape
            assert bits(got[name]) == bits(value), name
        else:
            assert got[name] == value, name


def load(state: dict[str, Any], reader: S3StorageReader, **options: Any) -> None:
    dcp.load(state, storage_reader=reader, **ALONE, **options)


def test_whole_state(save: Any, reader_of: Any, constructor: Any) -> None:
    state = model_state()
    target = zeros_like(state)
    target["loader"] = {"epoch": 0, "order": [0] * 50}
    load(target, reader_of(save(state), reader_constructor=constructor))
    assert_same(target, state)


@pytest.mark.parametrize("names", [["layer2"], ["layer6", "layer1"], ["scalar", "step"], []])
def test_part_of_it(save: Any, reader_of: Any, constructor: Any, names: list[str]) -> None:
    state = model_state()
    target = {name: value for name, value in zeros_like(state).items() if name in names}
    load(target, reader_of(save(state), reader_constructor=constructor))
    assert_same(target, {name: state[name] for name in names})


def test_by_keys(save: Any, reader_of: Any, constructor: Any) -> None:
    state = model_state()
    reader = reader_of(save(state), reader_constructor=constructor)
    got = _load_state_dict_from_keys({"layer3", "loader"}, storage_reader=reader)
    assert_same(got, {name: state[name] for name in ("layer3", "loader")})
    if ALONE:  # torch 2.6 takes no keys for none instead of all
        assert_same(_load_state_dict_from_keys(storage_reader=reader), state)


def test_several_files(save: Any, reader_of: Any, constructor: Any) -> None:
    state = model_state()
    uri = save(state, single_file_per_rank=False)
    target = {name: value for name, value in zeros_like(state).items() if name != "loader"}
    load(target, reader_of(uri, reader_constructor=constructor))
    assert_same(target, {name: state[name] for name in target})


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 5), (2, 0, 3), (257, 33)], ids=str)
def test_every_dtype(save: Any, reader_of: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    state = {"tensor": random_tensor(shape, dtype)}
    target = {"tensor": torch.zeros(shape, dtype=dtype)}
    load(target, reader_of(save(state)))
    assert_same(target, state)


TARGETS: dict[str, Callable[[], torch.Tensor]] = {
    "transposed": lambda: torch.zeros(30, 40).t(),
    "every second column": lambda: torch.zeros(40, 60)[:, ::2],
    "part of a larger one": lambda: torch.zeros(50, 50)[5:45, 7:37],
    "rows of a larger one": lambda: torch.zeros(90, 30)[13:53],
    "another dtype": lambda: torch.zeros(40, 30, dtype=torch.float64),
    "narrower dtype": lambda: torch.zeros(40, 30, dtype=torch.bfloat16),
    "parameter": lambda: torch.nn.Parameter(torch.zeros(40, 30)),
    "expects a gradient": lambda: torch.zeros(40, 30, requires_grad=True),
    "negated": lambda: torch.zeros(40, 30, dtype=torch.complex64).conj().imag,
    "odd address": lambda: torch.zeros(1201)[1:].view(40, 30),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_every_kind_of_target(save: Any, reader_of: Any, constructor: Any, kind: str) -> None:
    state = {"before": torch.randn(9), "tensor": torch.randn(40, 30), "after": torch.randn(11)}
    uri = save(state)
    expected = TARGETS[kind]()
    with torch.no_grad():
        expected.copy_(state["tensor"])
    target = TARGETS[kind]()
    load({"tensor": target}, reader_of(uri, reader_constructor=constructor))
    assert target.stride() == expected.stride()
    assert torch.equal(target, expected)


@pytest.mark.parametrize(
    "stored",
    [
        lambda: torch.randn(30, 40).t(),
        lambda: torch.randn(100)[10:50],
        lambda: torch.randn(2, 8, 4, 4).to(memory_format=torch.channels_last),
        lambda: torch.nn.Parameter(torch.randn(6, 7)),
        lambda: torch.randn(5).expand(4, 5),
        lambda: torch.randn(6, dtype=torch.complex64).conj(),
    ],
)
def test_tensors_saved_unusually(save: Any, reader_of: Any, constructor: Any, stored: Any) -> None:
    state = {"tensor": stored()}
    target = {"tensor": torch.zeros(state["tensor"].shape, dtype=state["tensor"].dtype)}
    load(target, reader_of(save(state), reader_constructor=constructor))
    assert torch.equal(target["tensor"], state["tensor"])


def test_items_planned_twice(save: Any, reader_of: Any, constructor: Any) -> None:
    """A planner may ask for the same stored tensor for two targets."""
    state = {"tied": torch.randn(50, 20), "other": torch.randn(10)}
    uri = save(state)

    class Twice(DefaultLoadPlanner):
        def create_local_plan(self) -> Any:
            plan = super().create_local_plan()
            plan.items.extend(item for item in list(plan.items) if item.dest_index.fqn == "tied")
            return plan

    target = {"tied": torch.zeros(50, 20), "other": torch.zeros(10)}
    load(target, reader_of(uri, reader_constructor=constructor), planner=Twice())
    assert_same(target, state)


def test_planner_that_transforms(save: Any, reader_of: Any, constructor: Any) -> None:
    """What `resolve_tensor` gives is filled, and what is committed is what it gave."""
    state = {"tensor": torch.randn(12, 5), "step": 3}
    committed: list[tuple[int, int]] = []

    class Doubling(DefaultLoadPlanner):
        def resolve_tensor(self, read_item: Any) -> torch.Tensor:
            self.given = torch.empty_like(super().resolve_tensor(read_item))
            return self.given

        def commit_tensor(self, read_item: Any, tensor: torch.Tensor) -> None:
            committed.append((tensor.data_ptr(), self.given.data_ptr()))
            super().lookup_tensor(read_item.dest_index).copy_(tensor * 2)

        def load_bytes(self, read_item: Any, value: io.BytesIO) -> None:
            assert read_item.type == LoadItemType.BYTE_IO
            super().load_bytes(read_item, value)

    target = {"tensor": torch.zeros(12, 5), "step": 0}
    load(target, reader_of(save(state), reader_constructor=constructor), planner=Doubling())
    assert torch.equal(target["tensor"], state["tensor"] * 2)
    assert target["step"] == 3
    assert [given == told for told, given in committed] == [True]


def test_wrong_size_is_refused(save: Any, reader_of: Any, constructor: Any) -> None:
    uri = save({"tensor": torch.randn(4, 4)})
    with pytest.raises(CheckpointException, match=r"[Ss]ize"):
        load({"tensor": torch.zeros(5, 4)}, reader_of(uri, reader_constructor=constructor))


def test_checkpoint_named_at_load(save: Any, reader_of: Any) -> None:
    one, other = {"t": torch.randn(3)}, {"t": torch.randn(3)}
    reader = reader_of(save(one))
    uri = save(other)
    target = {"t": torch.zeros(3)}
    load(target, reader, checkpoint_id=uri)
    assert_same(target, other)
    load(target, reader, checkpoint_id=Path(uri))
    assert reader.checkpoint_id == uri


def test_no_request_at_construction(s3: Any, client: Any) -> None:
    S3StorageReader(None, "s3://bucket/none", client=client)
    S3StorageReader("us-east-1", "s3://bucket/none", endpoint=s3.endpoint)
    assert s3.requests() == []


def test_plan_is_sorted_in_place(save: Any, reader_of: Any) -> None:
    uri = save({f"t{n}": torch.randn(n + 1) for n in range(9)}, single_file_per_rank=False)
    given: list[Any] = []

    class Constructor:
        _item_ranges_by_file: dict[str, Any] = {}  # noqa: RUF012

        def set_item_ranges_by_file(self, items: Any, stored: Any, base: Any) -> None:
            given.append((list(items), stored, base))

        def __call__(self, **arguments: Any) -> Any:
            return S3ReaderConstructor.sequential()(**arguments)

    reader = reader_of(uri, reader_constructor=Constructor())
    metadata = reader.read_metadata()
    reader.set_up_storage_reader(metadata, True)
    planner = DefaultLoadPlanner()
    planner.set_up_planner({f"t{n}": torch.zeros(n + 1) for n in range(9)}, metadata, True)
    plan = planner.create_local_plan()
    items = plan.items
    items.reverse()
    assert reader.prepare_local_plan(plan) is plan
    assert plan.items is items
    stored = metadata.storage_data
    places = [
        (stored[i.storage_index].relative_path, stored[i.storage_index].offset) for i in items
    ]
    assert places == sorted(places)
    assert given == [(items, stored, uri)]


@pytest.mark.parametrize(
    "path", ["bucket/key", "http://bucket/key", "s3://", "/tmp/checkpoint", ""]
)
def test_path_that_is_not_of_s3(client: S3Client, path: str) -> None:
    assert not S3StorageReader.validate_checkpoint_id(path)
    with pytest.raises(ValueError, match="s3://bucket/prefix"):
        S3StorageReader(None, path, client=client)


def test_path_object_with_its_slash_swallowed(client: S3Client) -> None:
    reader = S3StorageReader(None, Path("s3://bucket/run/1"), client=client)
    assert reader.path == "s3://bucket/run/1"
    assert S3StorageReader.validate_checkpoint_id(Path("s3://bucket/run/1"))


def test_only_a_client_of_its_own_has_more_connections() -> None:
    config = S3ClientConfig(throughput_target_gbps=5.0)
    given = S3StorageReader("us-east-1", "s3://b/k", config)
    own = S3StorageReader("us-east-1", "s3://b/k")
    assert given.fs.client.s3client_config is config
    assert own.fs.client.s3client_config == S3ClientConfig(throughput_target_gbps=14.0)


def test_settings_and_client_together_are_refused(client: S3Client) -> None:
    with pytest.raises(TypeError, match="together with a client"):
        S3StorageReader(None, "s3://b/k", client.s3client_config, client=client)


def test_file_system_answers(s3: Any, bucket: str, client: S3Client) -> None:
    files = S3FileSystem(s3_client=client)
    base = f"s3://{bucket}/listing"
    for key in ("listing/one", "listing/two", "listing/below/three", "listing2"):
        s3.put(bucket, key, b"x")
    assert files.ls(base) == [f"{base}/one", f"{base}/two", f"{base}/below"]
    assert files.ls(Path(base + "/")) == files.ls(base)
    assert files.exists(f"{base}/one")
    assert files.exists(f"{base}/below")
    assert files.exists(base + "/")
    assert not files.exists(f"{base}/on")
    assert not files.exists("s3://no-such-bucket-anywhere/x")
    assert files.concat_path(Path(base), ".metadata") == f"{base}/.metadata"
    with files.create_stream(f"{base}/one", "rb") as stream:
        assert stream.read() == b"x"
    assert stream.closed


@pytest.mark.parametrize(
    "write",
    [
        lambda files: files.create_stream("s3://b/k", "wb").__enter__(),
        lambda files: files.rename("s3://b/k", "s3://b/l"),
        lambda files: files.mkdir("s3://b/k"),
        lambda files: files.rm_file("s3://b/k"),
    ],
)
def test_writing_says_what_to_use(client: S3Client, write: Callable[[Any], Any]) -> None:
    with pytest.raises(io.UnsupportedOperation, match=re.escape("FileSystemWriter")):
        write(S3FileSystem(s3_client=client))


def test_storage_reader_pickles(save: Any, s3: Any) -> None:
    from s3reader import S3ClientConfig

    uri = save({"t": torch.arange(5.0)})
    reader = S3StorageReader(
        s3.region, uri, S3ClientConfig(credentials=s3.credentials), endpoint=s3.endpoint
    )
    copy = pickle.loads(pickle.dumps(reader))
    target = {"t": torch.zeros(5)}
    load(target, copy)
    assert torch.equal(target["t"], torch.arange(5.0))
    copy.fs.client.close()
