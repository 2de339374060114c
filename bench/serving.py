"""The servers that every contender reads from: nginx on loopback, plain, with TLS, or like S3.

Each request leaves a line in nginx's log, from which requests and connections of a run are counted
on the server's side.

The shaped one answers after 20 to 30 ms and gives each connection 90 MB/s, as S3 does. nginx's own
``limit_rate`` counts in whole seconds from the beginning of each request, so a part of some
megabytes comes unhindered. Instead Lua asks the kernel to pace the connection's socket, which costs
no copies and no timers of nginx's, and `Shape` says what came of it.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests" / "servers"))

from nginx_process import (
    HTTP_PATHS,
    INSTALL,
    PATHS,
    NginxEnded,
    NginxProcess,
    find_nginx,
    free_port,
)
from objects import BUCKET, LARGE, MARK, SMALL, SMALL_SIZE, WARM

__all__ = ["KINDS", "Nginx", "NginxEnded", "ServerMissing", "Shape", "Traffic"]

PLAIN, TLS, SHAPED = KINDS = ("plain", "tls", "shaped")

SHAPED_RATE = 90e6
"""Bytes a second of one connection; S3 gives 85 to 90 MB/s (Amazon S3's performance guidelines)."""
SHAPED_DELAY = (0.020, 0.030)
"""Seconds to the first byte; S3 takes longer for a large part of its requests, never less."""

MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")

_CONFIGURATION = """
{modules}
{paths}
{user}
worker_processes {workers};
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    {http_paths}
    log_format requests '$request_method $connection $uri';
    access_log {log} requests;
    keepalive_requests 10000000;
    {lua}
    server {{
        listen 127.0.0.1:{port} backlog=4096{tls};
        root {root};
        {certificate}
        {access}
    }}
}}
"""

# The request of nginx's C code has its connection as second field, that has its socket as fourth.
# 1 and 47 are Linux's SOL_SOCKET and SO_MAX_PACING_RATE.
_LUA = """
    lua_package_path "/usr/share/lua/5.1/?.lua;/usr/local/share/lua/5.1/?.lua;;";
    init_worker_by_lua_block {{
        local ffi = require "ffi"
        ffi.cdef[[int setsockopt(int, int, int, const void *, unsigned int);]]
        local get_request = require("resty.core.base").get_request
        local rate = ffi.new("unsigned int[1]", {rate:.0f})
        math.randomseed(20)
        function shape()
            local request = ffi.cast("void **", get_request())
            local connection = ffi.cast("void **", request[1])
            local socket = ffi.cast("int *", connection + 3)[0]
            if ffi.C.setsockopt(socket, 1, 47, rate, 4) ~= 0 then
                ngx.exit(500)
            end
            ngx.sleep({least} + {spread} * math.random())
        end
    }}
"""


class ServerMissing(RuntimeError):
    """nginx or its Lua module is not installed, or the kernel does not shape."""


@dataclass(frozen=True)
class Traffic:
    """What the server saw of one run between warm-up and mark; connections with the warm-up's."""

    requests: int
    connections: int


@dataclass(frozen=True)
class Shape:
    """What the shaped server was measured to do, by a socket that does nothing else.

    Attributes:
        rate: bytes a second of one connection.
        first_byte: seconds until an answer begins, the median.
        small: seconds that a GET of a small object takes, the median.
    """

    rate: float
    first_byte: float
    small: float


class Nginx(NginxProcess):
    """nginx serving ``root`` on a free loopback port; a context manager that ends it.

    Args:
        root: served; a bucket is a folder in it.
        work: where nginx may write.
        kind: of `KINDS`.

    Raises:
        ServerMissing: says what to install.
    """

    def __init__(self, root: Path, work: Path, kind: str = PLAIN) -> None:
        binary = find_nginx()
        if binary is None:
            raise ServerMissing(f"nginx is missing: {INSTALL}")
        folder = work / kind
        folder.mkdir()
        self.kind = kind
        self.authority: str | None = None
        certificate = ""
        if kind == TLS:
            from certificates import make_certificates  # needs cryptography, which others do not

            made = make_certificates(folder)
            self.authority = made.authority
            certificate = f"ssl_certificate {made.chain}; ssl_certificate_key {made.key};"
        shaped = kind == SHAPED
        least, most = SHAPED_DELAY
        port = free_port()
        self.endpoint = f"{'https' if kind == TLS else 'http'}://127.0.0.1:{port}"
        self._log = folder / "requests.log"
        configuration = _CONFIGURATION.format(
            modules=_lua_modules() if shaped else "",
            paths=PATHS.format(work=folder),
            # Its workers would else be somebody who may not read a temporary folder.
            user="user root;" if os.geteuid() == 0 else "",
            http_paths=HTTP_PATHS.format(work=folder),
            log=self._log,
            root=root,
            port=port,
            tls=" ssl" if kind == TLS else "",
            certificate=certificate,
            lua=_LUA.format(rate=SHAPED_RATE, least=least, spread=most - least) if shaped else "",
            access="access_by_lua_block { shape() }" if shaped else "",
            # Half of the cores, so that the client has the others for itself.
            workers=max(1, (os.cpu_count() or 2) // 2),
        )
        super().__init__(binary, folder, configuration, port)
        self.version = nginx_version(binary)

    def __enter__(self) -> Nginx:
        return self

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


def nginx_version(binary: str) -> str:
    """Such as "1.22.1"."""
    said = subprocess.run([binary, "-v"], capture_output=True, text=True).stderr
    return said.partition("/")[2].strip()


def _lua_modules() -> str:
    """The lines that load the Lua module."""
    for folder in map(Path, MODULES):
        lua = folder / "ngx_http_lua_module.so"
        if lua.exists():
            # Its dependency comes first.
            found = [folder / "ndk_http_module.so", lua]
            return "\n".join(f"load_module {path};" for path in found if path.exists())
    raise ServerMissing(f"nginx's Lua module is missing: {INSTALL}")


def measure_shape(server: Nginx, size: int) -> Shape:
    """What the shaped server does.

    Args:
        size: bytes of the large object.

    Raises:
        ServerMissing: it does not shape, so figures from it would mean nothing.
    """
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(30)
        wanted = min(size, 48 * 1024 * 1024)
        small = [_timed_get(connection, f"{SMALL}0", SMALL_SIZE) for _ in range(20)]
        begun, ended = _timed_get(connection, LARGE, wanted)
    shape = Shape(
        wanted / (ended - begun),
        statistics.median(head for head, _ in small),
        statistics.median(ended for _, ended in small),
    )
    if shape.rate > 1.15 * SHAPED_RATE:
        raise ServerMissing(
            f"the shaped server gives {shape.rate / 1e6:.0f} MB/s a connection, not "
            f"{SHAPED_RATE / 1e6:.0f}: this kernel does not pace sockets (SO_MAX_PACING_RATE)"
        )
    return shape


def _timed_get(connection: socket.socket, key: str, size: int) -> tuple[float, float]:
    """Seconds from the request until its head was there, and until all ``size`` bytes were."""
    lines = [f"GET /{BUCKET}/{key} HTTP/1.1", "Host: 127.0.0.1", f"Range: bytes=0-{size - 1}"]
    begun = time.perf_counter()
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head = time.perf_counter() - begun
    missing = size - len(received.partition(b"\r\n\r\n")[2])
    buffer = bytearray(1 << 20)
    while missing:
        count = connection.recv_into(buffer, min(missing, len(buffer)))
        if not count:
            raise EOFError(f"{missing} of {size} bytes are missing")
        missing -= count
    return head, time.perf_counter() - begun
