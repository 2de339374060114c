"""The server that every contender reads from: nginx on loopback, with the objects it serves.

One generated object is the source of all bytes: the smaller objects are pieces of it, so that
whatever was read is compared with one file. Each request leaves a line in nginx's log, from which
requests and connections of a run are counted on the server's side.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy

BUCKET = "bench"
LARGE = "large"
"""The whole source."""
MEDIUM = "medium"
"""Its first `MEDIUM_SIZE` bytes."""
SMALL = "small-"
"""Followed by a number: pieces of `SMALL_SIZE` bytes, adjoining."""
WARM = "warm"
"""As large as a small one; read before the clocks start and never counted."""
MARK = "mark"
"""Empty; asked for when the clocks have stopped: what comes after it is not counted either."""

MEDIUM_SIZE = 8 * 1024 * 1024
SMALL_SIZE = 100 * 1024
_BLOCK = 32 * 1024 * 1024  # bytes generated at once

_START_TIMEOUT = 10.0  # seconds
_STOP_TIMEOUT = 10.0

_CONFIGURATION = """
daemon off;
worker_processes {workers};
pid {work}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    log_format requests '$request_method $connection $uri';
    access_log {log} requests;
    default_type application/octet-stream;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 60s;
    keepalive_requests 10000000;
    server {{
        listen 127.0.0.1:{port};
        root {root};
    }}
}}
"""


class ServerMissing(RuntimeError):
    """nginx is not installed or does not start."""


@dataclass(frozen=True)
class Traffic:
    """What the server saw of one run between warm-up and mark; connections with the warm-up's."""

    requests: int
    connections: int


def generate_objects(root: Path, size: int, small_count: int) -> Path:
    """Write the objects under ``root``; returns the source's path."""
    bucket = root / BUCKET
    bucket.mkdir(parents=True)
    source = bucket / LARGE
    random = numpy.random.default_rng(20)
    with source.open("wb") as file:
        for start in range(0, size, _BLOCK):
            file.write(random.bytes(min(_BLOCK, size - start)))
    with source.open("rb") as file:
        (bucket / MEDIUM).write_bytes(file.read(MEDIUM_SIZE))
        file.seek(0)
        for index in range(small_count):
            (bucket / f"{SMALL}{index}").write_bytes(file.read(SMALL_SIZE))
    (bucket / WARM).write_bytes(bytes(SMALL_SIZE))
    (bucket / MARK).write_bytes(b"")
    return source


class Nginx:
    """nginx serving ``root`` on a free loopback port; a context manager that ends it."""

    def __init__(self, root: Path, work: Path) -> None:
        binary = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
        if binary is None:
            raise ServerMissing(
                "nginx is missing: apt-get install nginx, dnf install nginx, or brew install nginx"
            )
        self.port = _free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._log = work / "requests.log"
        # Readable for workers that run as another user, which nginx sees to when it is root.
        for folder in (work, root):
            folder.chmod(0o755)
        configuration = work / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                work=work,
                log=self._log,
                root=root,
                port=self.port,
                # Half of the cores, so that the client has the others for itself.
                workers=max(1, (os.cpu_count() or 2) // 2),
            )
        )
        self._process = subprocess.Popen(
            [binary, "-p", str(work), "-c", str(configuration)], stdin=subprocess.DEVNULL
        )
        self._await_listening()
        self.version = subprocess.run(
            [binary, "-v"], capture_output=True, text=True
        ).stderr.partition("/")[2]
        self.version = self.version.strip()

    def __enter__(self) -> Nginx:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End nginx and wait until it is gone."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log_position(self) -> int:
        """Where the log ends now; see `traffic_since`."""
        return self._log.stat().st_size

    def traffic_since(self, position: int) -> Traffic:
        """What was asked since the log ended at ``position``."""
        # A request is logged after its last byte has left, so the reader may be gone before.
        settled = -1
        while settled != (settled := self.log_position()):
            time.sleep(0.01)
        with self._log.open() as file:
            file.seek(position)
            lines = [line.split(" ") for line in file.read().splitlines()]
        requests = 0
        connections = set()
        for _, connection, path in lines:
            if path == f"/{BUCKET}/{MARK}":
                break
            connections.add(connection)
            requests += path != f"/{BUCKET}/{WARM}"
        return Traffic(requests, len(connections))

    def _await_listening(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            if self._process.poll() is not None:
                raise ServerMissing(f"nginx ended with status {self._process.returncode}")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    self.close()
                    raise
                time.sleep(0.02)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
