"""Ctrl-C, fork and exit: each in an interpreter of its own."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from servers.faults import FaultyObject, pattern
from servers.scripted import Reply, ScriptedServer
from transfers import wait_until

PROLOGUE = """
import os, signal, sys, threading, time
from s3reader import S3ClientConfig
from s3reader.session import Session
from s3reader.source import ObjectSource, head_object
from servers.faults import pattern

DATA = pattern({size})
session = Session("us-east-1", sys.argv[1], "s3reader-test", S3ClientConfig(
    part_size=4096, max_connections=4,
    credentials=dict(access_key_id="AKIDEXAMPLE", secret_access_key="secret")))
source = ObjectSource(session, "bucket", "key")

def rest_of(stream):
    return b"".join(bytes(view) for view in stream)

def end_child(right):
    os._exit(0 if right else 1)

def end_parent(child, right):
    status = os.waitpid(child, 0)[1]
    sys.exit(f"parent read wrong bytes" if not right else status and f"child ended with {{status}}")
"""

SIZE = 40 * 4096 + 100
DATA = pattern(SIZE)

Scripted = Callable[..., ScriptedServer]
RunPython = Callable[..., subprocess.CompletedProcess[str]]
StartPython = Callable[..., subprocess.Popen[str]]


def program(body: str) -> str:
    return PROLOGUE.format(size=SIZE) + body


WAITS = {
    "readinto": "source(0, 50).readinto(bytearray(50))",
    "readinto of many parts": "source().readinto(bytearray(len(DATA)))",
    "chunks": "next(source())",
    "tail": "source.tail(5).tell()",
    "head": "head_object(session, 'bucket', 'key', (), ())",
}


class TestInterrupt:
    @pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
    @pytest.mark.parametrize("fault", ["silent", "retry"])
    def test_ends_any_wait_and_the_session_goes_on(
        self, scripted: Scripted, start_python: StartPython, wait: str, fault: str
    ) -> None:
        faulty = FaultyObject(DATA)
        server = scripted(faulty)
        stuck = Reply(500, {"Retry-After": "20"}) if fault == "retry" else Reply(silent=True)
        faulty.go_wrong(lambda request, reply: stuck)
        child = start_python(
            program(f"""
try:
    {wait}
except KeyboardInterrupt:
    print(time.monotonic(), flush=True)
    sys.stdin.readline()
    assert rest_of(source()) == DATA
    print("read")
"""),
            server.endpoint,
        )
        wait_until(lambda: len(server.requests) > 0)
        time.sleep(0.1 if fault == "retry" else 0)  # lets the report be judged; either is right
        sent = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.stdout is not None
        assert float(child.stdout.readline()) - sent < 1.0
        faulty.go_wrong(None)
        output, errors = child.communicate("go on\n", timeout=20)
        assert (output, errors, child.returncode) == ("read\n", "", 0)

    def test_leaves_a_buffer_alone(self, scripted: Scripted, start_python: StartPython) -> None:
        large = FaultyObject(bytes(64 * 1024 * 1024))
        server = scripted(large)
        child = start_python(
            program("""
buffer = bytearray(64 * 1024 * 1024)
source = ObjectSource(Session("us-east-1", sys.argv[1], "t", S3ClientConfig(unsigned=True,
                      part_size=1024 * 1024)), "bucket", "key")
try:
    while True:
        source().readinto(buffer)
        print("once", flush=True)
except KeyboardInterrupt:
    buffer[:] = b"\\xee" * len(buffer)
    time.sleep(0.2)
    print(buffer.count(0xee) == len(buffer))
"""),
            server.endpoint,
        )
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        output, errors = child.communicate(timeout=30)
        assert output.splitlines()[-1] == "True"
        assert errors == ""


FORKS = {
    "half-read chunks": """
stream = source()
read = bytes(next(stream)) + bytes(next(stream))
child = os.fork()
right = read + rest_of(stream) == DATA
""",
    "prefetched, nothing read": """
stream = source()
stream.prefetch()
child = os.fork()
right = rest_of(stream) == DATA
""",
    "tail not yet answered": """
stream = source.tail(5000)
stream.prefetch()
child = os.fork()
right = rest_of(stream) == DATA[-5000:] and stream.tell() == len(DATA)
""",
    "between two readintos": """
stream = source()
buffer = bytearray(len(DATA))
for start in range(0, 30000, 10000):
    stream.readinto(memoryview(buffer)[start:start + 10000])
child = os.fork()
stream.readinto(memoryview(buffer)[30000:])
right = buffer == DATA
""",
    "after the fork only": """
child = os.fork()
right = rest_of(source()) == DATA
""",
    "views held over the fork": """
stream = source()
views = [next(stream) for _ in range(5)]
child = os.fork()
views += list(stream)
right = b"".join(map(bytes, views)) == DATA
del views, stream
""",
    "grandchild": """
stream = source()
read = bytes(next(stream))
if os.fork() == 0:
    inner = bytes(next(stream))
    child = os.fork()
    right = read + inner + rest_of(stream) == DATA
    if child == 0:
        end_child(right)
    sys.exit(os.waitpid(child, 0)[1] != 0 or not right)
if os.wait()[1]:
    sys.exit("a descendant failed")
child = os.fork()
right = read + rest_of(stream) == DATA
""",
    "another thread waits in its readinto": """
result = []
def read_on_thread():
    buffer = bytearray(len(DATA))
    result.append((ObjectSource(session, "bucket", "slow")().readinto(buffer), bytes(buffer)))
thread = threading.Thread(target=read_on_thread)
thread.start()
time.sleep(0.05)
child = os.fork()
right = rest_of(source()) == DATA
if child:
    thread.join()
    right = right and result == [(len(DATA), DATA)]
""",
    "another thread waits for a stream that the child drops": """
slow = ObjectSource(session, "bucket", "slow")()
held = [slow]
result = []
thread = threading.Thread(target=lambda: result.append(rest_of(held[0])))
thread.start()
del slow
time.sleep(0.05)
child = os.fork()
if child == 0:
    held[0].close()
    held.clear()
right = rest_of(source()) == DATA
if child:
    thread.join()
    right = right and result == [DATA]
""",
    "the child closes the session": """
stream = source()
read = bytes(next(stream))
child = os.fork()
if child == 0:
    session.close()
    try:
        next(stream)
    except ValueError:
        end_child(True)
right = read + rest_of(stream) == DATA
""",
}


@pytest.mark.forks
@pytest.mark.parametrize("body", FORKS.values(), ids=FORKS.keys())
def test_both_sides_of_a_fork_read_the_right_bytes(
    scripted: Scripted, run_python: RunPython, body: str
) -> None:
    faulty = FaultyObject(DATA)
    server = scripted(faulty)
    faulty.go_wrong(
        lambda request, reply: Reply(
            reply.status, reply.headers, reply.body, delay=0.3 if "slow" in request.target else 0.01
        )
    )
    ending = "\nend_child(right) if child == 0 else end_parent(child, right)\n"
    done = run_python(program(body + ending), server.endpoint, timeout=30)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


EXITS = {
    "half-read chunks": "stream = source(); next(stream)",
    "prefetched": "stream = source(); stream.prefetch()",
    "nothing begun": "stream = source()",
    "silent request": "stream = ObjectSource(session, 'bucket', 'silent')(); stream.prefetch()",
    "retry delayed": "s = ObjectSource(session, 'bucket', 'later')(); s.prefetch(); time.sleep(.1)",
    "views held": "views = list(source())",
    # A thread that waits meets a closed session, which it must not outlive; its error is its own.
    "daemon thread waits": """
threading.excepthook = lambda *_: None
stream = ObjectSource(session, 'bucket', 'silent')()
threading.Thread(target=lambda: next(stream), daemon=True).start()
time.sleep(0.1)
""",
    "daemon thread reads on and on": """
def read():
    while True:
        rest_of(source())
threading.excepthook = lambda *_: None
threading.Thread(target=read, daemon=True).start()
time.sleep(0.1)
""",
    "in a cycle": "stream = source(); next(stream); cycle = [stream]; cycle.append(cycle)",
    "session closed": "stream = source(); next(stream); session.close()",
}


@pytest.mark.parametrize("body", EXITS.values(), ids=EXITS.keys())
def test_interpreter_ends_silently_and_soon(
    scripted: Scripted, run_python: RunPython, body: str
) -> None:
    faulty = FaultyObject(DATA)
    server = scripted(faulty)

    def stuck(request: Any, reply: Reply) -> Reply:
        if "silent" in request.target:
            return Reply(silent=True)
        return Reply(500, {"Retry-After": "20"}) if "later" in request.target else reply

    faulty.go_wrong(stuck)
    done = run_python(program(body + "\nprint(time.monotonic())"), server.endpoint, timeout=30)
    ended = time.monotonic()
    assert (done.stderr, done.returncode) == ("", 0)
    assert ended - float(done.stdout) < 1.0
