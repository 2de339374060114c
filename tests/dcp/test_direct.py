"""The direct path: what goes straight into tensors, and what happens when bytes are not right."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from alone import ALONE
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner

from s3reader import S3ReaderConstructor
from s3reader.dcp import CheckpointCorruptError

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is")

MB = 1 << 20


def load(state: dict[str, Any], reader: Any) -> Any:
    dcp.load(state, storage_reader=reader, **ALONE)
    return reader.stats()


def cause(caught: pytest.ExceptionInfo[CheckpointException]) -> BaseException:
    error: BaseException = caught.value.failures[0][0]
    return error


@pytest.fixture
def parts(new_client: Any) -> Any:
    """Storage readers over a client of small parts, so that a tensor spans several."""

    def make(uri: str, **options: Any) -> Any:
        from s3reader.dcp import S3StorageReader

        client = new_client(part_size=64 * 1024, memory_limit=4 * MB)
        return S3StorageReader(None, uri, client=client, **options)

    return make


def test_plain_tensors_take_their_bytes_directly(save: Any, reader_of: Any) -> None:
    state = {f"t{n}": torch.randn(n, 100) for n in range(1, 30)}
    uri = save(state)
    target = {name: torch.zeros_like(value) for name, value in state.items()}
    stats = load(target, reader_of(uri))
    assert all(torch.equal(target[name], value) for name, value in state.items())
    assert stats["items"] == stats["direct_items"] == 29
    assert stats["unusual_items"] == stats["gap_bytes"] == 0
    assert stats["bytes_verified"] > sum(value.nbytes for value in state.values())


def test_tensors_that_span_many_parts(save: Any, parts: Any) -> None:
    state = {"large": torch.randn(1000, 1000), "small": torch.randn(10), "step": 4}
    target: dict[str, Any] = {"large": torch.zeros(1000, 1000), "small": torch.zeros(10), "step": 0}
    reader = parts(save(state))
    stats = load(target, reader)
    assert torch.equal(target["large"], state["large"])
    assert torch.equal(target["small"], state["small"])
    assert target["step"] == 4
    assert stats["direct_items"] == 2
    assert stats["requests"]["GetObject"] >= 4_000_000 // (64 * 1024)
    assert reader.fs.client._session.budget.used == 0


class Watching(DefaultLoadPlanner):
    """Calls something whenever a tensor was loaded."""

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__()
        self.look = look

    def commit_tensor(self, read_item: Any, tensor: torch.Tensor) -> None:
        self.look()


def test_detours_stay_within_the_memory_limit(save: Any, parts: Any) -> None:
    """Twenty transposed targets of a megabyte each, through a client of four."""
    state = {f"t{n}": torch.randn(512, 512) for n in range(20)}
    target = {name: torch.zeros(512, 512).t() for name in state}
    reader = parts(save(state))
    budget = reader.fs.client._session.budget
    used: list[int] = []
    planner = Watching(lambda: used.append(budget.used))
    dcp.load(target, storage_reader=reader, planner=planner, **ALONE)
    stats = reader.stats()
    assert all(torch.equal(target[name], value) for name, value in state.items())
    assert stats["direct_items"] == 0
    assert MB <= max(used) <= 4 * MB
    assert budget.used == 0


@pytest.mark.parametrize("shift", [-704, -640, -64, -1, 1, 64, 300])
@pytest.mark.parametrize("count", [1, 40, 5000])
def test_bytes_that_begin_elsewhere_are_moved(
    save: Any, parts: Any, monkeypatch: pytest.MonkeyPatch, shift: int, count: int
) -> None:
    """Whatever was expected, the tensor ends up with its own bytes."""
    from s3reader.dcp import load as loading

    state = {"t": torch.randn(count), "u": torch.randn(count + 3)}
    uri = save(state)
    monkeypatch.setattr(loading, "USUAL_DATA_START", loading.USUAL_DATA_START + shift)
    target = {"t": torch.zeros(count), "u": torch.zeros(count + 3)}
    stats = load(target, parts(uri))
    assert torch.equal(target["t"], state["t"])
    assert torch.equal(target["u"], state["u"])
    assert 1 <= stats["moved_items"] <= 2  # the second one, if it was sent later, knew better


def stored_file(s3: Any, uri: str) -> tuple[str, str, bytearray]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    key = f"{prefix}/__0_0.distcp"
    data = s3.boto.get_object(Bucket=bucket, Key=key)["Body"].read()
    return bucket, key, bytearray(data)


def test_any_flipped_byte_is_found(s3: Any, save: Any, reader_of: Any) -> None:
    """All bytes of a tensor and every 13th around: an error that names it, or the right values."""
    state = {"weights": torch.arange(9, dtype=torch.int32)}
    uri = save(state)
    bucket, key, data = stored_file(s3, uri)
    start = data.find(b"".join(n.to_bytes(4, "little") for n in range(9)))
    found = 0
    for place in [*range(0, len(data), 13), *range(start, start + 36)]:
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        s3.put(bucket, key, damaged)
        target = {"weights": torch.zeros(9, dtype=torch.int32)}
        try:
            load(target, reader_of(uri))
        except CheckpointException as error:
            found += 1
            reason = error.failures[0][0]
            assert isinstance(reason, CheckpointCorruptError)
            assert "'weights' from __0_0.distcp of checkpoint s3://" in str(reason)
        else:
            assert torch.equal(target["weights"], state["weights"]), place
            assert not start <= place < start + 36
    assert found >= 36


def test_flipped_byte_of_a_detour_and_of_bytes(s3: Any, save: Any, reader_of: Any) -> None:
    uri = save({"loader": {"place": "here"}, "weights": torch.full((64, 64), 7.0)})
    bucket, key, data = stored_file(s3, uri)
    for needle, name in (
        (b"here", "loader.place"),
        (torch.full((9,), 7.0).numpy().tobytes(), "weights"),
    ):
        damaged = bytearray(data)
        damaged[damaged.index(needle) + 1] ^= 1
        s3.put(bucket, key, damaged)
        target = {"loader": {"place": ""}, "weights": torch.zeros(64, 64).t()}
        with pytest.raises(CheckpointException) as caught:
            load(target, reader_of(uri))
        assert f"'{name}' from __0_0.distcp" in str(cause(caught))


def test_verification_can_be_left_out(s3: Any, save: Any, reader_of: Any) -> None:
    uri = save({"weights": torch.full((64,), 7.0)})
    bucket, key, data = stored_file(s3, uri)
    data[data.index(torch.full((9,), 7.0).numpy().tobytes())] ^= 1
    s3.put(bucket, key, data)
    target = {"weights": torch.zeros(64)}
    assert load(target, reader_of(uri, verify=False))["bytes_verified"] == 0
    assert target["weights"][1:].eq(7).all()


def stored_bytes(uri: str, s3: Any, names: list[str]) -> int:
    """Bytes that stored tensors take, all of their archives'."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    data = s3.boto.get_object(Bucket=bucket, Key=f"{prefix}/.metadata")["Body"].read()
    stored = pickle.loads(data).storage_data
    return sum(info.length for index, info in stored.items() if index.fqn in names)


def test_gaps_are_left_out_or_fetched_as_asked(s3: Any, save: Any, reader_of: Any) -> None:
    state = {f"t{n}": torch.randn(256, 256) for n in range(30)}
    uri = save(state)
    wanted = ["t0", "t10", "t20"]
    between = 10 * 257 * 1024  # from one that is wanted to the next, a bit more
    for options, requests in (
        ({}, 3),
        ({"max_gap_size": 0}, 3),
        ({"max_gap_size": between // 2}, 3),
        ({"max_gap_size": between}, 1),
        ({"max_gap_size": 32 * MB}, 1),
        ({"max_gap_size": float("inf")}, 1),
    ):
        s3.reset()
        target = {name: torch.zeros(256, 256) for name in wanted}
        constructor = S3ReaderConstructor.dcp_optimized(**options)
        reader = pickle.loads(pickle.dumps(constructor))
        stats = load(target, reader_of(uri, reader_constructor=reader))
        assert all(torch.equal(target[name], state[name]) for name in wanted)
        asked = [one for one in s3.requests("GetObject") if one.path.endswith(".distcp")]
        assert len(asked) == requests
        assert stats["gap_bytes"] == sum(one.length for one in asked) - stored_bytes(
            uri, s3, wanted
        )
        assert (stats["gap_bytes"] > 4 * MB) == (requests == 1)


def test_small_tensors_share_requests(s3: Any, save: Any, reader_of: Any) -> None:
    state = {f"t{n}": torch.full((300,), float(n)) for n in range(2000)}
    uri = save(state)
    s3.reset()
    target = {name: torch.zeros(300) for name in state}
    stats = load(target, reader_of(uri))
    assert all(torch.equal(target[name], value) for name, value in state.items())
    assert stats["direct_items"] == 2000
    assert len(s3.requests("GetObject")) <= 3  # .metadata, one part, its end


def test_pickle_that_torch_refuses_is_refused(s3: Any, save: Any, reader_of: Any) -> None:
    """An archive that calls a function, with its checksums right, runs nothing."""

    class Evil:
        def __reduce__(self) -> Any:
            return Path.mkdir, (Path("never-made"),)

    uri = save({"weights": torch.zeros(400)})
    bucket, key, data = stored_file(s3, uri)
    file = io.BytesIO()
    torch.save(Evil(), file)
    evil = file.getvalue()
    s3.put(bucket, key, bytes(len(data) - len(evil)) + evil)
    with pytest.raises(CheckpointException) as caught:
        load({"weights": torch.zeros(400)}, reader_of(uri))
    assert isinstance(cause(caught), CheckpointCorruptError)
    assert not Path("never-made").exists()
