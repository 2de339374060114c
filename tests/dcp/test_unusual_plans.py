"""Plans and files out of the ordinary: overlapping items, streams that extensions changed."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from alone import ALONE
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata, MetadataIndex

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is")

BYTES = bytes(range(256)) * 20


class Raw(DefaultLoadPlanner):
    """Keeps bytes as they were stored."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: dict[str, bytes] = {}

    def load_bytes(self, read_item: Any, value: io.BytesIO) -> None:
        self.loaded[read_item.dest_index.fqn] = value.read()


@pytest.mark.parametrize(
    "ranges",
    [
        {"a": (0, 100), "b": (50, 150)},
        {"a": (0, 1000), "b": (20, 50), "c": (999, 1200)},
        {"a": (10, 90), "b": (10, 91), "c": (11, 90)},
        {"a": (0, 5000), "b": (0, 5000), "c": (4000, 4500)},
    ],
)
def test_items_that_overlap_partly(
    tmp_path: Path, upload: Any, reader_of: Any, constructor: Any, ranges: Any, caplog: Any
) -> None:
    folder = tmp_path / "overlapping"
    folder.mkdir()
    (folder / "bytes.distcp").write_bytes(BYTES)
    metadata = Metadata(
        state_dict_metadata={name: BytesStorageMetadata() for name in ranges},
        planner_data={name: (name,) for name in ranges},
        storage_data={
            MetadataIndex(name): _StorageInfo("bytes.distcp", start, stop - start)
            for name, (start, stop) in ranges.items()
        },
    )
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    planner = Raw()
    reader = reader_of(upload(folder), reader_constructor=constructor)
    dcp.load(dict.fromkeys(ranges), storage_reader=reader, planner=planner, **ALONE)
    assert planner.loaded == {name: BYTES[start:stop] for name, (start, stop) in ranges.items()}
    said = "read item by item" in caplog.text
    assert said == (type(constructor).__name__ == "DCPOptimizedConstructor")


def extensions() -> Any:
    return pytest.importorskip("torch.distributed.checkpoint._extension")


def load_with(registry: Any, extension: Any, save: Any, reader_of: Any, constructor: Any) -> Any:
    """Save with an extension, load; what the reader counted."""
    state = {
        "tensor": torch.arange(3000.0).reshape(30, 100),
        "turned": torch.randn(5, 7),
        "other dtype": torch.randn(4),
        "scalar": torch.tensor(2.5),
        "step": 4,
        "loader": {"order": [3, 1, 2]},
    }
    uri = save(state, _extensions=[extension])
    reader = reader_of(uri, reader_constructor=constructor, _extension_registry=registry)
    target = {
        "tensor": torch.zeros(30, 100),
        "turned": torch.zeros(7, 5).t(),
        "other dtype": torch.zeros(4, dtype=torch.float64),
        "scalar": torch.tensor(0.0),
        "step": 0,
        "loader": {"order": [0, 0, 0]},
    }
    dcp.load(target, storage_reader=reader, **ALONE)
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(target[name], value.to(target[name].dtype)), name
        else:
            assert target[name] == value
    return reader.stats()


def test_compressed_by_torch(save: Any, reader_of: Any, constructor: Any) -> None:
    module = extensions()
    pytest.importorskip("zstandard", reason="torch compresses with zstandard or pyzstd")
    registry = module.ExtensionRegistry()
    stats = load_with(registry, module.ZStandard(), save, reader_of, constructor)
    assert stats["direct_items"] == 0


def test_changed_by_an_extension_of_ones_own(save: Any, reader_of: Any, constructor: Any) -> None:
    module = extensions()

    class Flipped(module.StreamTransformExtension):  # type: ignore[misc,name-defined]
        @staticmethod
        def registry_name() -> str:
            return "stream.flipped"

        @staticmethod
        def from_descriptor(version: str) -> Any:
            return Flipped()

        def get_descriptor(self) -> str:
            return "stream.flipped/1"

        def transform_to(self, output: Any) -> Any:
            class Writer(io.RawIOBase):
                def writable(self) -> bool:
                    return True

                def write(self, data: Any) -> int:
                    output.write(bytes(byte ^ 255 for byte in bytes(data)))
                    return len(bytes(data))

            return Writer()

        def transform_from(self, input: Any) -> Any:
            return io.BytesIO(bytes(byte ^ 255 for byte in input.read(-1)))

    registry = module.ExtensionRegistry()
    registry.register(Flipped)
    load_with(registry, Flipped(), save, reader_of, constructor)


def test_extension_that_is_not_registered(save: Any, reader_of: Any) -> None:
    """Torch's error reaches the user; nothing is taken for a tensor that is none."""
    module = extensions()

    class Unknown(module.ZStandard):  # type: ignore[misc,name-defined]
        @staticmethod
        def registry_name() -> str:
            return "stream.nobody-knows"

    pytest.importorskip("zstandard")
    uri = save({"t": torch.zeros(3)}, _extensions=[Unknown()])
    with pytest.raises(dcp.api.CheckpointException, match="nobody-knows"):
        dcp.load({"t": torch.zeros(3)}, storage_reader=reader_of(uri), **ALONE)
