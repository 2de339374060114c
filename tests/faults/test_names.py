"""A host's name that does not resolve at first, as on a machine whose network comes up late.

The resolver is the C library's; a small library that is preloaded decides what it says of one name:
nothing while a file is missing, then this machine.
"""

from __future__ import annotations

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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="preloads as Linux does")
@pytest.mark.parametrize("code", [BETWEEN_READS, WITHIN_A_READ], ids=["between", "within"])
def test_read_recovers_when_the_name_resolves(
    scripted: Callable[..., ScriptedServer],
    run_python: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    code: str,
) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler (Debian: apt-get install gcc)")
    source, library = tmp_path / "resolver.c", tmp_path / "resolver.so"
    source.write_text(RESOLVER)
    command = [compiler, "-shared", "-fPIC", str(source), "-o", str(library), "-ldl"]
    subprocess.run(command, check=True)
    server = scripted(FaultyObject(DATA))
    preloaded = [*os.environ.get("LD_PRELOAD", "").split(":"), str(library)]
    done = run_python(
        CLIENT + code,
        str(server.port),
        LD_PRELOAD=":".join(filter(None, preloaded)),
        LATE_NAME=str(tmp_path / "known"),
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert server.requests
