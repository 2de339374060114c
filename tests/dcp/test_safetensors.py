"""Checkpoints of safetensors files: what torch's own reader loads from a folder, from S3."""

from __future__ import annotations

import json
import secrets
import struct
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ranks
import torch
import torch.distributed.checkpoint as dcp
from alone import ALONE
from torch.distributed.checkpoint.api import CheckpointException

import s3reader.dcp
from s3reader import (
    ObjectChangedError,
    ObjectNotFoundError,
    S3ClientConfig,
    S3ReaderConstructor,
)
from s3reader.dcp import CheckpointCorruptError, _torch
from s3reader.dcp.safetensors_files import DTYPES, FIRST_READ, INDEX

if _torch.HuggingFaceStorageReader is None:
    pytest.skip("this torch has no HuggingFaceStorageReader", allow_module_level=True)

from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)

from s3reader.dcp import S3HuggingFaceStorageReader

safetensors_torch = pytest.importorskip("safetensors.torch")

pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.distributed is"),
    pytest.mark.timeout(200),
]


def state_of(count: int = 6) -> dict[str, torch.Tensor]:
    torch.manual_seed(4)
    state = {f"layer{n}.weight": torch.randn(n + 2, 30) for n in range(count)}
    return state | {"scalar": torch.tensor(2.5), "empty": torch.empty(0, 3)}


def zeros_like(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.zeros_like(value) for name, value in state.items()}


def assert_same(got: dict[str, Any], expected: dict[str, Any]) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name].dtype == value.dtype
        assert got[name].shape == value.shape
        bits = [t.contiguous().reshape(-1).view(torch.uint8) for t in (got[name], value)]
        assert torch.equal(*bits), name


@pytest.fixture
def hf_reader(client: Any) -> Any:
    def make(uri: Any, **options: Any) -> S3HuggingFaceStorageReader:
        return S3HuggingFaceStorageReader(None, uri, client=client, **options)

    return make


def load(state: dict[str, Any], reader: Any) -> Any:
    dcp.load(state, storage_reader=reader, **ALONE)
    return reader.stats()


def cause(state: dict[str, Any], reader: Any) -> BaseException:
    with pytest.raises(CheckpointException) as caught:
        dcp.load(state, storage_reader=reader, **ALONE)
    error: BaseException = caught.value.failures[0][0]
    return error


@pytest.fixture
def saved(tmp_path: Path, upload: Any) -> Any:
    """Saves files of tensors as safetensors' own library does; returns the checkpoint's URI."""

    def put(files: dict[str, dict[str, torch.Tensor]], index: dict[str, str] | None = None) -> str:
        folder = tmp_path / secrets.token_hex(4)
        folder.mkdir()
        for name, tensors in files.items():
            safetensors_torch.save_file(tensors, folder / name)
        if index is not None:
            (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": index}))
        uri: str = upload(folder)
        return uri

    return put


def test_files_of_the_library(saved: Any, hf_reader: Any) -> None:
    """Without an index: all files, several tensors each, bytes directly into tensors."""
    state = state_of()
    names = list(state)
    uri = saved(
        {
            "model-1.safetensors": {name: state[name] for name in names[:4]},
            "model-2.safetensors": {name: state[name] for name in names[4:]},
        }
    )
    target = zeros_like(state)
    stats = load(target, hf_reader(uri))
    assert_same(target, state)
    assert stats["direct_items"] == stats["items"] == 7  # torch plans none for an empty tensor
    assert stats["requests"] == {"ListObjectsV2": 1, "GetObject": 4}


def test_index_says_which_files_count(saved: Any, hf_reader: Any) -> None:
    state = {"a": torch.randn(3, 4), "b": torch.randn(5)}
    uri = saved(
        {
            "model-00001-of-00002.safetensors": {"a": state["a"]},
            "model-00002-of-00002.safetensors": {"b": state["b"]},
            "consolidated.safetensors": {"a": torch.zeros(3, 4), "c": torch.zeros(1)},
        },
        {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"},
    )
    reader = hf_reader(uri)
    assert set(reader.read_metadata().state_dict_metadata) == {"a", "b"}
    target = zeros_like(state)
    load(target, reader)
    assert_same(target, state)


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype(saved: Any, hf_reader: Any, name: str) -> None:
    dtype = DTYPES[name]
    state = {
        "odd": torch.tensor([1.0, 0.0, 2.0]).to(torch.uint8).to(dtype),
        "table": torch.arange(12.0).reshape(3, 4).to(dtype),
    }
    uri = saved({"model.safetensors": state})
    target = {key: torch.zeros(value.shape, dtype=dtype) for key, value in state.items()}
    load(target, hf_reader(uri))
    assert_same(target, state)
    turned = {"table": torch.zeros(4, 3, dtype=dtype).t()}
    load(turned, hf_reader(uri))
    assert_same(turned, {"table": state["table"]})


@pytest.mark.parametrize("kind", ["one file", "by mapping", "sharded", "consolidated"])
def test_torch_writes_it(tmp_path: Path, upload: Any, hf_reader: Any, kind: str) -> None:
    state = {name: value for name, value in state_of().items() if value.numel()}
    mapping = {name: n % 3 + 1 for n, name in enumerate(state)} if kind == "by mapping" else None
    folder = tmp_path / "checkpoint"
    writer = HuggingFaceStorageWriter(
        str(folder),
        mapping,
        save_distributed=kind in ("sharded", "consolidated"),
        enable_consolidation=kind == "consolidated",
    )
    dcp.save(dict(state), storage_writer=writer, **ALONE)
    assert (folder / INDEX).exists() == (kind != "sharded")
    for path in folder.glob("sharded/*"):
        path.unlink()
        path.parent.rmdir()
    expected, target = zeros_like(state), zeros_like(state)
    dcp.load(expected, storage_reader=HuggingFaceStorageReader(str(folder)), **ALONE)
    load(target, hf_reader(upload(folder)))
    assert_same(target, expected)
    del target["scalar"], state["scalar"]  # which torch loses when it consolidates
    assert_same(target, state)


@pytest.mark.parametrize(("saved_on", "loaded_on"), [(4, 2), (2, 4), (2, 1)])
@pytest.mark.parametrize("cooperative", [False, True])
def test_shards_of_several_ranks(
    s3: Any, tmp_path: Path, upload: Any, saved_on: int, loaded_on: int, cooperative: bool
) -> None:
    folder = str(tmp_path / "checkpoint")
    ranks.run_ranks(saved_on, ranks.save_sharded_safetensors, folder)
    config = S3ClientConfig(credentials=s3.credentials)
    maker = partial(
        S3HuggingFaceStorageReader,
        s3.region,
        upload(Path(folder)),
        config,
        endpoint=s3.endpoint,
        cooperative=cooperative,
    )
    assert ranks.run_ranks(loaded_on, ranks.load_sharded, maker) == [[]] * loaded_on
    assert ranks.run_ranks(loaded_on, ranks.load_sharded_unsharded, maker) == [[]] * loaded_on


def test_rank_fetches_the_rows_that_it_wants(s3: Any, saved: Any) -> None:
    whole = torch.arange(4000.0 * 100).reshape(4000, 100)
    uri = saved({"model.safetensors": {"rows": whole}})
    config = S3ClientConfig(credentials=s3.credentials)
    maker = partial(S3HuggingFaceStorageReader, s3.region, uri, config, endpoint=s3.endpoint)
    s3.reset()
    assert ranks.run_ranks(4, ranks.load_rows, maker, (4000, 100)) == [0.0] * 4
    asked = [one.length for one in s3.requests("GetObject") if one.length > FIRST_READ]
    assert asked == [whole.nbytes // 4] * 4


@pytest.mark.parametrize(
    "pieces",
    [[(0, 5), (5, 10)], [(0, 6), (4, 10)], [(0, 10), (3, 4)], [(2, 3), (2, 3)], [(0, 0), (9, 10)]],
)
def test_pieces_of_one_tensor(saved: Any, hf_reader: Any, pieces: Any) -> None:
    """Rows that a plan wants in pieces, which may overlap."""
    from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
    from torch.distributed.checkpoint.planner_helpers import _create_read_item_for_tensor

    whole = torch.randn(10, 7)
    got = [torch.zeros(stop - start, 7) for start, stop in pieces]

    class Pieces(DefaultLoadPlanner):
        def create_local_plan(self) -> Any:
            plan = super().create_local_plan()
            (item,) = plan.items
            plan.items[:] = [
                _create_read_item_for_tensor(
                    dest_index=item.dest_index,
                    dest_offsets=[number, 0],
                    storage_index=item.storage_index,
                    storage_offsets=[start, 0],
                    lengths=[stop - start, 7],
                )
                for number, (start, stop) in enumerate(pieces)
            ]
            return plan

        def resolve_tensor(self, read_item: Any) -> torch.Tensor:
            return got[read_item.dest_offsets[0]]

    uri = saved({"model.safetensors": {"t": whole, "u": torch.zeros(3)}})
    planner = Pieces()
    dcp.load({"t": whole.clone()}, storage_reader=hf_reader(uri), planner=planner, **ALONE)
    for (start, stop), piece in zip(pieces, got, strict=True):
        assert torch.equal(piece, whole[start:stop])


def test_long_header(saved: Any, hf_reader: Any) -> None:
    state = {f"a tensor with a long name {n:0200}": torch.full((2,), float(n)) for n in range(400)}
    uri = saved({"model.safetensors": state})
    target = zeros_like(state)
    stats = load(target, hf_reader(uri))
    assert_same(target, state)
    assert stats["requests"]["GetObject"] == 3


def put_file(s3: Any, uri: str, data: bytes) -> None:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    s3.put(bucket, f"{prefix}/model.safetensors", data)


def file_of(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


FOUR = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "has only 0 bytes"),
        (b"1234", "has only 4 bytes"),
        (struct.pack("<Q", 1000) + b"{}", "cut short, or is no safetensors"),
        (struct.pack("<Q", 1 << 60) + b"{}", "cut short, or is no safetensors"),
        (file_of(b"not json"), "header of model.safetensors is damaged"),
        (file_of([1, 2]), "header of model.safetensors is damaged"),
        (file_of({"t": {"dtype": "F32"}}, bytes(16)), "is damaged .KeyError"),
        (file_of({"t": FOUR | {"dtype": "F4"}}, bytes(16)), "dtype 'F4', which is not known"),
        (file_of({"t": FOUR | {"shape": [-4]}}, bytes(16)), "is described by"),
        (file_of({"t": FOUR | {"shape": [3]}}, bytes(16)), "'t' cannot be bytes"),
        (file_of({"t": FOUR}, bytes(15)), "was cut short"),
        (file_of({"t": FOUR, "u": FOUR | {"data_offsets": [8, 24]}}, bytes(24)), "cannot be bytes"),
        (
            file_of({"t": FOUR, "__metadata__": {"DCP_SHARDING_INFO": "{}"}}, bytes(16)),
            "is damaged .KeyError",
        ),
    ],
)
def test_damaged_file(s3: Any, saved: Any, hf_reader: Any, data: bytes, said: str) -> None:
    uri = saved({"model.safetensors": {"t": torch.zeros(4)}})
    put_file(s3, uri, data)
    with pytest.raises(CheckpointCorruptError, match=said) as caught:
        hf_reader(uri).read_metadata()
    assert f"checkpoint {uri}" in str(caught.value)
    assert "all files were uploaded" in str(caught.value)


def test_missing_files(s3: Any, saved: Any, hf_reader: Any) -> None:
    state = {"a": torch.zeros(4)}
    uri = saved(
        {"model.safetensors": state}, {"a": "model.safetensors", "b": "model-2.safetensors"}
    )
    with pytest.raises(ObjectNotFoundError, match=r"names model-2.safetensors, which is not there"):
        hf_reader(uri).read_metadata()
    error = cause(zeros_like(state), hf_reader(f"{uri}-elsewhere"))
    assert f"checkpoint {uri}-elsewhere: there is no file *.safetensors" in str(error)
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    for text in (b"{", b"[]", b'{"weight_map": 4}'):
        s3.put(bucket, f"{prefix}/{INDEX}", text)
        with pytest.raises(CheckpointCorruptError, match=f"{INDEX} is damaged"):
            hf_reader(uri).read_metadata()


def test_file_that_changes_after_its_header(s3: Any, saved: Any, hf_reader: Any) -> None:
    state = {"t": torch.zeros(4)}
    uri = saved({"model.safetensors": state})

    class Changing(S3HuggingFaceStorageReader):
        def prepare_local_plan(self, plan: Any) -> Any:
            put_file(s3, uri, file_of({"t": FOUR}, b"!" * 16))
            return super().prepare_local_plan(plan)

    error = cause(state, Changing(None, uri, client=hf_reader(uri).fs.client))
    assert isinstance(error, ObjectChangedError)
    assert f"'t' from model.safetensors of checkpoint {uri}" in str(error)


def test_other_readers_are_refused(client: Any) -> None:
    with pytest.raises(TypeError, match="dcp_optimized"):
        S3HuggingFaceStorageReader(
            None, "s3://b/k", client=client, reader_constructor=S3ReaderConstructor.sequential()
        )


def test_torch_without_such_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_torch, "HuggingFaceStorageReader", None)
    with pytest.raises(ImportError, match="does not have that class: install a newer torch"):
        from s3reader.dcp import S3HuggingFaceStorageReader  # noqa: F401
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = s3reader.dcp.Nothing


@pytest.mark.parametrize("files", [1, 2])
def test_quantized_checkpoint(tmp_path: Path, upload: Any, client: Any, files: int) -> None:
    """The same values as torch's own reader gives from the folder."""
    if _torch.QuantizedHuggingFaceStorageReader is None:
        pytest.skip("this torch has no QuantizedHuggingFaceStorageReader")
    torch.manual_seed(1)
    state = {
        "q.weight": torch.randn(200, 150).to(torch.float8_e4m3fn),
        "q.weight_scale_inv": torch.rand(2, 2) + 0.5,
        "plain.weight": torch.randn(9, 4),
    }
    folder = tmp_path / "quantized"
    folder.mkdir()
    names = {
        name: f"model-{1 if files == 1 or name != 'q.weight_scale_inv' else 2}.safetensors"
        for name in state
    }
    for file in set(names.values()):
        tensors = {name: state[name] for name in state if names[name] == file}
        safetensors_torch.save_file(tensors, folder / file)
    (folder / INDEX).write_text(json.dumps({"weight_map": names}))
    from s3reader.dcp import S3QuantizedHuggingFaceStorageReader

    uri = upload(folder)
    expected = {"q.weight": torch.zeros(200, 150), "plain.weight": torch.zeros(9, 4)}
    got = zeros_like(expected)
    theirs = _torch.QuantizedHuggingFaceStorageReader(str(folder))
    dcp.load(expected, storage_reader=theirs, **ALONE)
    load(got, S3QuantizedHuggingFaceStorageReader(None, uri, client=client))
    assert_same(got, expected)
    assert not torch.equal(got["q.weight"], torch.zeros(200, 150))
    with pytest.raises(TypeError, match="not read cooperatively"):
        S3QuantizedHuggingFaceStorageReader(None, uri, client=client, cooperative=True)
