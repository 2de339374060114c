"""A client's life: what it starts and gives back, who may share it, what it says to the log."""

from __future__ import annotations

import gc
import logging
import os
import pickle
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import DATA, anything, ask_all
from servers.embedded_s3 import S3
from servers.scripted import Reply, ScriptedServer, object_script

import s3reader
from s3reader import S3Client, S3ClientConfig, S3ReaderConstructor

MIB = 1024 * 1024
LARGE = bytes(range(256)) * 4096 * 6

Scripted = Callable[..., ScriptedServer]
ClientFor = Callable[..., S3Client]


def held() -> tuple[int, int]:
    """Threads (the I/O ones included) and open files of this process."""
    gc.collect()
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")


@needs_proc
def test_making_a_client_starts_nothing() -> None:
    before = held()
    client = S3Client("us-east-1", endpoint="http://localhost:1")
    client.get_object("bucket", "key")
    client.list_objects("bucket")
    assert held() == before
    client.close()
    assert held() == before


@needs_proc
@pytest.mark.parametrize("ending", ["close", "with", "gc", "gc with a reader"])
def test_ended_client_leaves_no_thread_and_no_file(
    s3: S3, bucket: str, ending: str, new_client: Callable[..., S3Client]
) -> None:
    s3.put(bucket, "lifecycle/object", DATA)
    config = S3ClientConfig(credentials=s3.credentials)
    gc.collect()
    before = held()
    client = S3Client(s3.region, endpoint=s3.endpoint, s3client_config=config)
    reader = client.get_object(bucket, "lifecycle/object")
    assert reader.read(100) == DATA[:100]
    assert held() > before
    if ending == "close":
        client.close()
        client.close()
    elif ending == "with":
        with client:
            pass
    elif ending == "gc":
        del reader, client
    else:
        del client
        assert reader.read() == DATA[100:]
        del reader
    gc.collect()
    assert eventually(lambda: held() == before), (before, held())


@needs_proc
def test_many_clients_one_after_another_leave_nothing(s3: S3, bucket: str) -> None:
    s3.put(bucket, "lifecycle/object", DATA)
    config = S3ClientConfig(credentials=s3.credentials)
    before = held()
    for _ in range(30):
        with S3Client(s3.region, endpoint=s3.endpoint, s3client_config=config) as client:
            reader = client.get_object(bucket, "lifecycle/object")
            assert reader.read() == DATA
    assert eventually(lambda: held() == before), (before, held())


@needs_proc
def test_unpickled_readers_share_a_session_and_leave_nothing(
    s3: S3, bucket: str, client: S3Client
) -> None:
    s3.put(bucket, "lifecycle/object", DATA)
    readers = [client.get_object(bucket, "lifecycle/object") for _ in range(5)]
    assert readers[0].read(10) == DATA[:10]
    before = held()
    twins = [pickle.loads(pickle.dumps(reader)) for reader in readers]
    for twin, place in zip(twins, (10, 0, 0, 0, 0), strict=True):
        assert twin.read() == DATA[place:]
    while_used = held()
    assert while_used[0] - before[0] == 2  # one I/O thread and one supervisor for all of them
    del twin, twins
    assert eventually(lambda: held() == before), (before, held())


def test_dropped_client_is_collected_without_the_garbage_collector(s3: S3, bucket: str) -> None:
    s3.put(bucket, "lifecycle/object", DATA)
    config = S3ClientConfig(credentials=s3.credentials)
    client = S3Client(s3.region, endpoint=s3.endpoint, s3client_config=config)
    assert client.get_object(bucket, "lifecycle/object").read() == DATA
    session = weakref.ref(client._session)
    gc.disable()
    try:
        del client
        assert eventually(lambda: session() is None)
    finally:
        gc.enable()


def test_closed_client_says_so(scripted: Scripted, client_for: ClientFor) -> None:
    server = scripted(anything)
    client = client_for(server.endpoint)
    pages = client.list_objects("bucket")
    readers = [client.get_object("bucket", "key") for _ in range(2)]
    assert readers[0].read(10) == DATA[:10]
    client.close()
    asked = len(server.requests)
    for ask in (
        lambda: readers[1].read(),
        lambda: client.get_object("bucket", "key").read(),
        lambda: client.head_object("bucket", "key"),
        lambda: next(pages),
    ):
        with pytest.raises(ValueError, match="closed"):
            ask()
    assert len(server.requests) == asked
    assert client.stats()["requests"]["GetObject"] == 1
    for reader in readers:
        reader.close()


def test_closing_ends_a_read_that_waits(scripted: Scripted, client_for: ClientFor) -> None:
    server = scripted([Reply(silent=True)])
    client = client_for(server.endpoint)
    caught: list[BaseException] = []

    def read() -> None:
        try:
            client.get_object("bucket", "key").read()
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    assert eventually(lambda: len(server.requests) == 1)
    client.close()
    thread.join(5)
    assert not thread.is_alive()
    assert isinstance(caught[0], ValueError)
    assert "closed" in str(caught[0])


@pytest.mark.parametrize("kind", ["sequential", "range_based"])
def test_closing_a_reader_cancels_what_it_waits_for(
    scripted: Scripted, client_for: ClientFor, kind: str
) -> None:
    server = scripted(
        lambda request: Reply(
            206,
            {"ETag": '"v"', "Content-Range": f"bytes 0-{MIB - 1}/{MIB}"},
            bytes(MIB),
            delay_at=1000,
            pause=60,
        )
    )
    client = client_for(server.endpoint)
    reader = client.get_object(
        "bucket", "key", reader_constructor=getattr(S3ReaderConstructor, kind)()
    )
    if kind == "sequential":
        reader.prefetch()
        assert eventually(lambda: len(server.requests) == 1)
    start = time.monotonic()
    reader.close()
    client.close()
    assert time.monotonic() - start < 5


def test_threads_share_a_client(s3: S3, bucket: str, new_client: Callable[..., S3Client]) -> None:
    client = new_client(part_size=64 * 1024)
    bodies = {f"lifecycle/shared/{number}": os.urandom(300_000 + number) for number in range(8)}
    for key, body in bodies.items():
        s3.put(bucket, key, body)
    constructors = [S3ReaderConstructor.sequential(), S3ReaderConstructor.range_based(70_000)]
    failures: list[str] = []
    start = threading.Barrier(8)

    def work(number: int) -> None:
        try:
            start.wait(10)
            for turn in range(6):
                key = f"lifecycle/shared/{(number + turn) % 8}"
                constructor = constructors[turn % 2]
                with client.get_object(bucket, key, reader_constructor=constructor) as reader:
                    reader.seek(1000)
                    data = reader.read()
                    if data != bodies[key][1000:]:
                        failures.append(f"{key}: other bytes")
                if client.head_object(bucket, key).size != len(bodies[key]):
                    failures.append(f"{key}: other size")
                if len(next(client.list_objects(bucket, "lifecycle/shared/")).object_info) != 8:
                    failures.append("other listing")
        except BaseException as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    stats = client.stats()
    assert stats["requests"]["HeadObject"] == stats["requests"]["ListObjectsV2"] == 48
    assert stats["retries"] == {}


# Pickling.


class Agent:
    prefix = "trainer/1"


def test_client_pickles_as_its_settings(s3: S3, bucket: str) -> None:
    s3.put(bucket, "lifecycle/object", DATA)
    config = S3ClientConfig(credentials=s3.credentials, part_size=4096, max_attempts=3)
    with S3Client(
        s3.region, endpoint=s3.endpoint, user_agent=Agent(), s3client_config=config
    ) as client:
        assert client.get_object(bucket, "lifecycle/object").read() == DATA
        with pickle.loads(pickle.dumps(client)) as twin:
            assert twin.s3client_config == config
            assert (twin.region, twin.user_agent_prefix) == (
                client.region,
                client.user_agent_prefix,
            )
            assert twin.stats()["requests"] == {}
            assert twin.get_object(bucket, "lifecycle/object").read() == DATA
        client.close()
        with pickle.loads(pickle.dumps(client)) as twin:
            assert twin.get_object(bucket, "lifecycle/object").read() == DATA


@pytest.mark.parametrize(
    "constructor",
    [S3ReaderConstructor.sequential(), S3ReaderConstructor.range_based(5000)],
    ids=["sequential", "ranged"],
)
def test_reader_pickles_with_its_place_and_version(
    s3: S3, bucket: str, client: S3Client, constructor: Any
) -> None:
    s3.put(bucket, "lifecycle/pickled", DATA)
    reader = client.get_object(bucket, "lifecycle/pickled", reader_constructor=constructor)
    assert reader.read(100) == DATA[:100]
    pickled = pickle.dumps(reader)
    assert DATA[:50] not in pickled
    with pickle.loads(pickled) as twin:
        assert type(twin) is type(reader)
        assert twin.tell() == 100
        assert twin.read() == DATA[100:]
    assert reader.read() == DATA[100:]
    s3.put(bucket, "lifecycle/pickled", DATA[::-1])
    with pytest.raises(s3reader.ObjectChangedError), pickle.loads(pickled) as twin:
        twin.read()


def test_pickle_holds_nothing_of_a_provider(scripted: Scripted, client_for: ClientFor) -> None:
    server = scripted(anything)
    client = client_for(server.endpoint, credentials=_provide)
    reader = client.get_object("bucket", "key")
    assert reader.read() == DATA
    for each in (client, reader, client.list_objects("bucket")):
        assert b"super-secret" not in pickle.dumps(each)
    client.close()


def _provide() -> dict[str, str]:
    return {"access_key_id": "AKID", "secret_access_key": "-".join(["super", "secret"])}


# The log.


def test_nothing_is_logged_by_default(
    scripted: Scripted, client_for: ClientFor, capfd: pytest.CaptureFixture[str]
) -> None:
    replies = [Reply(500), Reply(503), Reply(raw=b"", reset=True)]
    good = object_script(DATA)
    server = scripted(
        lambda request: replies[request.index] if request.index < 3 else good(request)
    )
    client = client_for(server.endpoint, max_attempts=5)
    assert client.get_object("bucket", "key").read() == DATA
    with pytest.raises(s3reader.S3Exception):
        client_for(scripted([Reply(404)]).endpoint).head_object("bucket", "key")
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_library_leaves_the_log_alone() -> None:
    logger = logging.getLogger("s3reader")
    assert logger.level == logging.NOTSET
    assert logger.propagate
    assert all(isinstance(handler, logging.NullHandler) for handler in logger.handlers)


def test_retries_are_told_at_debug_and_nothing_above(
    scripted: Scripted, client_for: ClientFor, hides_secrets: Any, caplog: pytest.LogCaptureFixture
) -> None:
    good = object_script(DATA)
    server = scripted(lambda request: Reply(500) if request.index == 0 else good(request))
    client = client_for(server.endpoint)
    assert client.get_object("bucket", "key").read() == DATA
    ask_all(client_for(scripted(anything).endpoint))
    records = [record for record in caplog.records if record.name.startswith("s3reader")]
    assert {record.levelname for record in records} == {"DEBUG"}
    assert any("server_error" in record.getMessage() for record in records)
    hides_secrets(*(record.getMessage() for record in records))
