"""One file that is not right: an error that says so on every rank of a group, and nobody hangs."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ranks
from servers.faults import status
from servers.scripted import Reply, Request, object_script

from s3reader import S3ClientConfig
from s3reader.dcp import S3StorageReader

pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.distributed is"),
    pytest.mark.timeout(200),
]

Script = Callable[[Request], Reply]
PART = 4096
BAD = "__1_0.distcp"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A checkpoint of two ranks, whose files have several parts each."""
    folder = tmp_path_factory.mktemp("faults") / "checkpoint"
    ranks.run_ranks(2, ranks.save_sharded, str(folder))
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def flipped(data: bytes) -> bytes:
    """One bit of a tensor's values is another one."""
    damaged = bytearray(data)
    damaged[damaged.index(struct.pack("<2f", 4020, 4021)) + 2] ^= 4
    return bytes(damaged)


def changing(data: bytes) -> Script:
    """Another version from its second part on."""
    before, after = object_script(data, '"one"'), object_script(data, '"two"')
    return lambda request: (before if request.range[0] < PART else after)(request)


def refused(data: bytes) -> Script:
    fault = status(403, "AccessDenied")
    return lambda request: fault(request, Reply(200))


def gone(data: bytes) -> Script:
    fault = status(404, "NoSuchKey")
    return lambda request: fault(request, Reply(200))


FAULTS: dict[str, tuple[Callable[[bytes], Script], list[str]]] = {
    "missing": (gone, ["NoSuchKey", "was it deleted, or its upload cut short?"]),
    "truncated": (lambda data: object_script(data[: len(data) // 2]), ["the object has only"]),
    "changed": (changing, ["Load again, from a checkpoint that nobody writes to."]),
    "denied": (refused, ["AccessDenied"]),
    "damaged": (
        lambda data: object_script(flipped(data)),
        ["CRC-32", "Load an earlier checkpoint, or upload this one again."],
    ),
}


@pytest.fixture
def loads(scripted: Any, files: dict[str, bytes]) -> Any:
    """Loads on some ranks where one file is served by a script; each rank's result."""

    def run(count: int, name: str, script: Script, cooperative: bool) -> list[Any]:
        scripts = {file: object_script(data, f'"{file}"') for file, data in files.items()}
        scripts[name] = script
        absent = gone(b"")  # torch looks for a rank's own metadata where there is none for all
        server = scripted(
            lambda request: scripts.get(request.target.rpartition("/")[2], absent)(request)
        )
        maker = partial(
            S3StorageReader,
            None,
            "s3://bucket/step",
            S3ClientConfig(unsigned=True, part_size=PART, max_attempts=2),
            endpoint=f"http://127.0.0.1:{server.port}",
            cooperative=cooperative,
        )
        return ranks.run_ranks(count, ranks.load_sharded_unsharded, maker)

    return run


@pytest.mark.parametrize(("count", "cooperative"), [(2, False), (4, True)])
@pytest.mark.parametrize("fault", FAULTS)
def test_every_rank_hears_of_a_bad_file(
    loads: Any, files: dict[str, bytes], fault: str, count: int, cooperative: bool
) -> None:
    make, advice = FAULTS[fault]
    for result in loads(count, BAD, make(files[BAD]), cooperative):
        assert isinstance(result, RuntimeError)
        text = str(result)
        assert f" from {BAD} of checkpoint s3://bucket/step" in text
        assert any(f"'{name}'" in text for name in ranks.SHAPES)
        for words in advice:
            assert words in text


@pytest.mark.parametrize(("count", "cooperative"), [(2, True), (4, False)])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: gone(b""), "A checkpoint is complete once its .metadata is there"),
        (lambda data: refused(b""), "AccessDenied"),
        (lambda data: object_script(data[: len(data) // 2]), "it is damaged"),
        (lambda data: object_script(data.replace(b"torch", b"tarch")), "it is damaged"),
    ],
    ids=["missing", "denied", "truncated", "damaged"],
)
def test_every_rank_hears_of_bad_metadata(
    loads: Any, files: dict[str, bytes], damage: Any, said: str, count: int, cooperative: bool
) -> None:
    for result in loads(count, ".metadata", damage(files[".metadata"]), cooperative):
        assert isinstance(result, RuntimeError)
        assert "the metadata of checkpoint s3://bucket/step" in str(result)
        assert said in str(result)


def test_ranks_that_read_different_versions(scripted: Any, tmp_path: Path) -> None:
    """Each rank by itself has seen one version of the file; together they have seen two."""
    folder = tmp_path / "replicated"
    ranks.run_ranks(1, ranks.save_replicated, str(folder))
    data = (folder / "__0_0.distcp").read_bytes()
    scripts = [object_script(data, '"one"'), object_script(data, '"two"')]
    metadata = object_script((folder / ".metadata").read_bytes())

    def answer(request: Request) -> Reply:
        if request.target.endswith(".metadata"):
            return metadata(request)
        return scripts[request.range[0] > len(data) // 4](request)

    endpoint = f"http://127.0.0.1:{scripted(answer).port}"
    config = S3ClientConfig(unsigned=True)
    uri = "s3://bucket/step"
    maker = partial(S3StorageReader, None, uri, config, endpoint=endpoint, cooperative=True)
    for result in ranks.run_ranks(2, ranks.load_replicated, maker):
        assert isinstance(result, RuntimeError)
        assert "ranks have read different versions of the file." in str(result)
        assert f" from __0_0.distcp of checkpoint {uri}" in str(result)


def test_nobody_complains_of_good_files(loads: Any, files: dict[str, bytes]) -> None:
    for count, cooperative in ((2, False), (4, True)):
        good = object_script(files[BAD])
        assert loads(count, BAD, good, cooperative) == [[]] * count
