"""What a host's name resolves to: nothing, while the network is not up yet; or many addresses.

The resolver is the C library's; a small library that is preloaded decides what it says of two
names: of one nothing while a file is missing, then this machine; of the other always four of this
machine's addresses.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from interpreters import run_python, start_python
from servers.faults import FaultyObject, pattern
from servers.scripted import ScriptedServer

__all__ = ["run_python", "start_python"]

DATA = pattern(20_000)
RESOLVER = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
typedef int resolve(const char *, const char *, const struct addrinfo *, struct addrinfo **);
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **found) {
    resolve *next = (resolve *)dlsym(RTLD_NEXT, "getaddrinfo");
    if (name != NULL && strcmp(name, "late.test") == 0) {
        if (access(getenv("LATE_NAME"), F_OK) != 0)
            return EAI_NONAME;
        name = "127.0.0.1";
    }
    if (name != NULL && strcmp(name, "wide.test") == 0) {
        static const char *own[] = {"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"};
        int failed = 0;
        for (int index = 0; failed == 0 && index < 4; index++) {
            failed = next(own[index], service, hints, found);
            while (failed == 0 && *found != NULL)
                found = &(*found)->ai_next;
        }
        return failed;
    }
    return next(name, service, hints, found);
}
"""
CLIENT = """
import os, pathlib, sys, threading
from unittest import mock
import s3reader
from servers.faults import pattern

DATA = pattern(20_000)
KNOWN = pathlib.Path(os.environ["LATE_NAME"])
config = s3reader.S3ClientConfig(unsigned=True, part_size=4096, force_path_style=True)
mock.patch("s3reader.judge.random.random", return_value=1.0).start()

def client():
    return s3reader.S3Client(endpoint=f"http://late.test:{sys.argv[1]}", s3client_config=config)
"""
MANY_ADDRESSES = """
import collections, os, re, sys
import s3reader

endpoint = f"http://wide.test:{sys.argv[1]}"
config = s3reader.S3ClientConfig(unsigned=True, part_size=4096, force_path_style=True,
                                 max_connections=32)
client = s3reader.S3Client(endpoint=endpoint, s3client_config=config)
client.get_object("bucket", "key").readinto(bytearray(4096 * 64))
port = f"{int(sys.argv[1]):04X}"
with open("/proc/self/net/tcp") as table:
    peers = re.findall(rf" 0[0-4]00007F:[0-9A-F]{{4}} (0[1-4])00007F:{port} 01 ", table.read())
print(len(set(peers)))
"""
BETWEEN_READS = """
shared = client()
reader = shared.get_object("bucket", "key")
try:
    reader.read()
except s3reader.S3ConnectionError as error:
    assert "could not be resolved" in str(error), error
    assert error.attempts == 5
assert reader.tell() == 0
KNOWN.touch()
assert reader.read() == DATA
assert shared.get_object("bucket", "key").read() == DATA
"""
WITHIN_A_READ = """
threading.Timer(0.5, KNOWN.touch).start()
assert client().get_object("bucket", "key").read() == DATA
"""


@pytest.fixture
def resolver(tmp_path: Path) -> str:
    """What to preload."""
    if not sys.platform.startswith("linux"):
        pytest.skip("preloads as Linux does")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler (Debian: apt-get install gcc)")
    source, library = tmp_path / "resolver.c", tmp_path / "resolver.so"
    source.write_text(RESOLVER)
    command = [compiler, "-shared", "-fPIC", str(source), "-o", str(library), "-ldl"]
    subprocess.run(command, check=True)
    preloaded = [*os.environ.get("LD_PRELOAD", "").split(":"), str(library)]
    return ":".join(filter(None, preloaded))


@pytest.mark.parametrize("code", [BETWEEN_READS, WITHIN_A_READ], ids=["between", "within"])
def test_read_recovers_when_the_name_resolves(
    scripted: Callable[..., ScriptedServer],
    run_python: Callable[..., subprocess.CompletedProcess[str]],
    resolver: str,
    tmp_path: Path,
    code: str,
) -> None:
    server = scripted(FaultyObject(DATA))
    known = str(tmp_path / "known")
    done = run_python(CLIENT + code, str(server.port), LD_PRELOAD=resolver, LATE_NAME=known)
    assert (done.stderr, done.returncode) == ("", 0)
    assert server.requests


def test_connections_spread_over_the_addresses(
    run_python: Callable[..., subprocess.CompletedProcess[str]], resolver: str
) -> None:
    faulty = FaultyObject(bytes(4096 * 64))
    # So slowly that no connection is done with its part before all of them are there.
    faulty.go_wrong(lambda request, reply: dataclasses.replace(reply, delay=1.0))
    with ScriptedServer(faulty, host="0.0.0.0") as server:
        done = run_python(MANY_ADDRESSES, str(server.port), LD_PRELOAD=resolver)
        assert server.connections > 4
    assert (done.stderr, done.returncode) == ("", 0)
    assert int(done.stdout) > 1
