"""Clients and readers in child processes: spawned, from a fork server, forked, as data workers."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import processes
import pytest
from servers.certificates import Certificates
from servers.embedded_s3 import S3
from servers.scripted import ScriptedServer, object_script

from s3reader import (
    DCPOptimizedS3Reader,
    ItemRange,
    RangedS3Reader,
    S3Client,
    S3ReaderConstructor,
    SequentialS3Reader,
)

DATA = os.urandom(700_001)
METHODS = [
    method
    for method in ("spawn", "forkserver", "fork")
    if method in multiprocessing.get_all_start_methods()
]

pytestmark = [
    pytest.mark.forks,
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

Reading = Callable[[], bytes]


@pytest.fixture(params=METHODS)
def context(request: pytest.FixtureRequest) -> Any:
    return multiprocessing.get_context(request.param)


@pytest.fixture
def key(s3: S3, bucket: str) -> str:
    s3.put(bucket, "processes/object", DATA)
    return "processes/object"


@pytest.fixture
def parts(new_client: Callable[..., S3Client]) -> S3Client:
    """A client that needs several parts for the object."""
    return new_client(part_size=64 * 1024)


def test_client_works_in_a_child(context: Any, parts: S3Client, bucket: str, key: str) -> None:
    assert processes.run(context, processes.read_from, parts, bucket, key) == DATA
    reader = parts.get_object(bucket, key)
    assert reader.read(1000) == DATA[:1000]
    assert processes.run(context, processes.read_from, parts, bucket, key) == DATA
    assert reader.read() == DATA[1000:]
    pages = parts.list_objects(bucket, "processes/")
    assert processes.run(context, processes.keys_of, pages) == [key]


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
def test_readers_work_in_a_child(
    context: Any, parts: S3Client, bucket: str, key: str, used: bool
) -> None:
    for constructor in (S3ReaderConstructor.sequential(), S3ReaderConstructor.range_based(100_000)):
        reader = parts.get_object(bucket, key, reader_constructor=constructor)
        start = 0
        if used:
            start = 1000
            assert reader.read(start) == DATA[:start]
        assert processes.run(context, processes.read, reader) == DATA[start:]
        assert reader.read() == DATA[start:]


def test_checkpoint_reader_works_in_a_child(
    context: Any, parts: S3Client, bucket: str, key: str
) -> None:
    def construct(**given: Any) -> DCPOptimizedS3Reader:
        items = [ItemRange(0, 300_000), ItemRange(300_000, len(DATA))]
        return DCPOptimizedS3Reader(item_ranges=items, max_gap_size=0, **given)

    reader = parts.get_object(bucket, key, reader_constructor=construct)
    assert reader.read(1000) == DATA[:1000]
    assert processes.run(context, processes.read_exactly, reader, 100) == DATA[1000:1100]
    assert reader.read(299_000) == DATA[1000:300_000]


def test_stream_and_constructor_work_in_a_child(
    context: Any, parts: S3Client, bucket: str, key: str
) -> None:
    reader = parts.get_object(bucket, key)
    get_stream: Any = reader._get_stream  # type: ignore[attr-defined]
    result = processes.run(context, processes.read_stream, get_stream, 5000, 400_000)
    assert result == DATA[5000:400_000]
    constructor = S3ReaderConstructor.range_based(1 << 20)
    assert processes.run(context, processes.read_from, parts, bucket, key, constructor) == DATA


def test_readers_of_a_client_share_its_connections_in_a_child(
    context: Any, parts: S3Client, bucket: str, key: str
) -> None:
    readers = [parts.get_object(bucket, key) for _ in range(3)]
    assert processes.run(context, processes.sessions_of, readers) == 1


# Forks of a process in the middle of reading.


@pytest.fixture
def busy(parts: S3Client, bucket: str, key: str) -> Iterator[Reading]:
    """Four threads that read all the time; their reading must go on undisturbed."""
    stop = threading.Event()
    failures: list[object] = []
    counts = [0] * 4

    def work(number: int) -> None:
        try:
            while not stop.is_set():
                if number % 2:
                    with parts.get_object(bucket, key) as reader:
                        data = reader.read()
                else:
                    buffer = bytearray(len(DATA))
                    with parts.get_object(
                        bucket, key, reader_constructor=S3ReaderConstructor.range_based(0)
                    ) as reader:
                        reader.readinto(buffer)
                    data = bytes(buffer)
                if data != DATA:
                    failures.append("other bytes")
                counts[number] += 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()

    def read() -> bytes:
        with parts.get_object(bucket, key) as reader:
            return bytes(reader.read())

    try:
        yield read
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert failures == []
    assert all(counts)


@pytest.mark.skipif("fork" not in METHODS, reason="this system does not fork")
def test_fork_in_the_middle_of_reads_leaves_both_sides_working(
    busy: Reading, parts: S3Client
) -> None:
    def work() -> bool:
        before = parts.stats()["requests"]
        return before == {} and busy() == DATA and parts.stats()["requests"]["GetObject"] >= 1

    for _ in range(15):
        processes.fork_and_run(work)


@pytest.mark.skipif("fork" not in METHODS, reason="this system does not fork")
def test_forked_child_reads_on_and_closes_what_the_parent_began(
    busy: Reading, parts: S3Client, bucket: str, key: str
) -> None:
    for constructor in (S3ReaderConstructor.sequential(), S3ReaderConstructor.range_based(0)):
        reader = parts.get_object(bucket, key, reader_constructor=constructor)
        assert isinstance(reader, (SequentialS3Reader, RangedS3Reader))
        if isinstance(reader, SequentialS3Reader):
            reader.prefetch()
        else:
            reader.read(10)
            reader.seek(0)
        readers = [reader, parts.get_object(bucket, key)]

        def work(readers: list[Any] = readers) -> bool:
            same = all(each.read() == DATA for each in readers)
            for each in readers:
                each.close()
            readers.clear()
            parts.close()
            gc.collect()
            return same

        for _ in range(5):
            processes.fork_and_run(work)
        assert reader.read() == DATA


@pytest.mark.skipif("fork" not in METHODS, reason="this system does not fork")
def test_forked_child_that_ends_at_once_does_not_hang(busy: Reading) -> None:
    fork = multiprocessing.get_context("fork")
    for _ in range(5):
        assert processes.run(fork, os.getpid) != os.getpid()


@pytest.mark.skipif("fork" not in METHODS, reason="this system does not fork")
def test_child_of_a_child_works(parts: S3Client, bucket: str, key: str) -> None:
    assert parts.get_object(bucket, key).read() == DATA

    def read() -> bool:
        return bool(parts.get_object(bucket, key).read() == DATA)

    def grandchild() -> bool:
        assert read()
        processes.fork_and_run(read)
        return read()

    processes.fork_and_run(grandchild)
    assert read()


@pytest.mark.skipif("fork" not in METHODS, reason="this system does not fork")
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_fork_leaves_the_parents_connection_alone(
    scripted: Callable[..., ScriptedServer],
    certificates: Certificates,
    client_for: Callable[..., S3Client],
    tls: bool,
) -> None:
    chain = (certificates.chain, certificates.key) if tls else None
    server = scripted(object_script(DATA), chain)
    client = client_for(server.endpoint, ca_bundle=certificates.authority, max_attempts=1)
    assert client.get_object("bucket", "key").read() == DATA

    def read_and_close() -> bool:
        same = bool(client.get_object("bucket", "key").read() == DATA)
        client.close()
        gc.collect()
        return same

    def close() -> bool:
        client.close()
        gc.collect()
        return True

    for task in (close, read_and_close, read_and_close):
        processes.fork_and_run(task)
        assert client.get_object("bucket", "key").read() == DATA
    assert client.stats()["connections_opened"] == 1
    assert client.stats()["retries"] == {}
    assert server.connections == 3


# torch's data workers.


@pytest.mark.parametrize(
    ("method", "held"),
    [("fork", False), ("fork", True), ("spawn", True)],
    ids=["fork-client", "fork-readers", "spawn-readers"],
)
def test_data_loader_reads_in_two_workers(
    s3: S3, bucket: str, parts: S3Client, method: str, held: bool
) -> None:
    import zlib

    data = pytest.importorskip("torch.utils.data")
    if method not in METHODS or (sys.platform == "darwin" and method == "fork"):
        pytest.skip(f"torch does not start workers with {method} here")
    expected = []
    keys = []
    for number in range(8):
        body = DATA[number * 1000 : number * 1000 + 150_000]
        keys.append(f"processes/loader/{number}")
        s3.put(bucket, keys[-1], body)
        expected.append(zlib.crc32(body))
    assert len(parts.get_object(bucket, keys[0]).read()) == 150_000
    loader = data.DataLoader(
        processes.Objects(parts, bucket, keys, held),
        batch_size=None,
        num_workers=2,
        multiprocessing_context=method,
    )
    for _ in range(2 if method == "fork" else 1):  # spawned workers take long to import torch
        answers = list(loader)
        assert [checksum for _, checksum in answers] == expected
        workers = {worker for worker, _ in answers}
        assert len(workers) == 2
        assert os.getpid() not in workers
