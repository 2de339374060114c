"""torch's DataLoader: every way to start workers, workers that stay, and workers that are killed.

That its workers read at all is tested with the client, in ``tests/client/test_processes.py``.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import zlib
from collections.abc import Callable
from typing import Any

import processes
import pytest
from servers.faults import FaultyObject, pattern
from servers.scripted import Reply, ScriptedServer

from s3reader import S3Client

data = pytest.importorskip("torch.utils.data")

DATA = pattern(100_000)
CHECKSUM = zlib.crc32(DATA)
KEYS = [f"key-{number}" for number in range(8)]
METHODS = [
    method
    for method in ("fork", "spawn", "forkserver")
    if method in multiprocessing.get_all_start_methods()
    and not (sys.platform == "darwin" and method == "fork")
]

pytestmark = pytest.mark.forks

Scripted = Callable[..., ScriptedServer]
ClientFor = Callable[..., S3Client]


@pytest.fixture
def client(scripted: Scripted, client_for: ClientFor) -> S3Client:
    """A client in use, of a server that keeps silent about one key."""
    faulty = FaultyObject(DATA)
    server = scripted(faulty)
    faulty.go_wrong(
        lambda request, reply: Reply(silent=True) if request.target.endswith("/silent") else None
    )
    client = client_for(server.endpoint, part_size=8192)
    assert client.get_object("bucket", "key").read() == DATA
    return client


def loader_of(dataset: Any, method: str, workers: int = 2, **settings: Any) -> Any:
    return data.DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        multiprocessing_context=method,
        **settings,
    )


@pytest.mark.parametrize("method", METHODS)
def test_workers_that_stay_read_epoch_after_epoch(client: S3Client, method: str) -> None:
    dataset = processes.Objects(client, "bucket", KEYS, held=method == "fork")
    # What is started afresh imports torch, which takes seconds for each.
    loader = loader_of(dataset, method, 2 if method == "fork" else 1, persistent_workers=True)
    half_read = client.get_object("bucket", "key")
    assert half_read.read(10) == DATA[:10]
    seen = set()
    # Readers that are held are read to their end in the first epoch, as readers are.
    for _ in range(1 if method == "fork" else 3):
        for worker, checksum in loader:
            assert checksum == CHECKSUM
            seen.add(worker)
    assert os.getpid() not in seen
    assert len(seen) == loader.num_workers
    assert half_read.read() == DATA[10:]


@pytest.mark.parametrize("method", METHODS)
def test_batches_are_read_together(client: S3Client, method: str) -> None:
    dataset = processes.Batches(client, "bucket", KEYS)
    workers = 2 if method == "fork" else 1
    loader = data.DataLoader(
        dataset, batch_size=3, num_workers=workers, multiprocessing_context=method
    )
    half_read = client.read_many("bucket", KEYS)
    assert bytes(next(half_read).data) == DATA
    assert [batch.tolist() for batch in loader] == [[CHECKSUM] * 3, [CHECKSUM] * 3, [CHECKSUM] * 2]
    assert [bytes(one.data) for one in half_read] == [DATA] * (len(KEYS) - 1)


@pytest.mark.parametrize("method", METHODS)
def test_worker_killed_while_it_reads_harms_nobody_else(client: S3Client, method: str) -> None:
    mortal = processes.Mortal(client, "bucket", KEYS, mortal=3)
    half_read = client.get_object("bucket", "key")
    assert half_read.read(10) == DATA[:10]
    with pytest.raises(RuntimeError, match=r"killed by signal|exited unexpectedly"):
        list(loader_of(mortal, method, 2 if method == "fork" else 1))
    assert half_read.read() == DATA[10:]
    assert client.get_object("bucket", "key").read() == DATA
    again = loader_of(processes.Objects(client, "bucket", KEYS, held=False), "fork")
    assert [checksum for _, checksum in again] == [CHECKSUM] * len(KEYS)


@pytest.mark.long
@pytest.mark.skipif("fork" not in METHODS, reason="this system does not fork")
def test_a_hundred_workers_are_killed(client: S3Client) -> None:
    for mortal in range(100):
        dataset = processes.Mortal(client, "bucket", KEYS, mortal=mortal % len(KEYS))
        with pytest.raises(RuntimeError, match=r"killed by signal|exited unexpectedly"):
            list(loader_of(dataset, "fork"))
        assert client.get_object("bucket", "key").read() == DATA
