"""nginx serving a folder on a free loopback port: a real server, with keep-alive and TLS.

It answers GET, HEAD and byte ranges with an ETag, which is all the readers ask of S3 (unsigned).
nginx itself would outlive a test run that is killed, so a shell starts it and ends it, by its id,
once the shell's standard input ends.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from servers.certificates import Certificates

START_TIMEOUT = 10.0  # seconds until nginx must accept
STOP_TIMEOUT = 10.0

WATCHED = 'exec 3<&0; "$@" </dev/null & nginx=$!; read -r _ <&3; kill $nginx; wait $nginx'

CONFIGURATION = """
daemon off;
master_process off;
pid {work}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/octet-stream;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 60s;
    keepalive_requests 1000000;
    limit_req_zone $limited zone=all:1m rate={rate}r/s;
    limit_req_status 503;
    limit_req_log_level info;
    server {{
        set $limited "";
        if (-f {work}/limited) {{ set $limited all; }}
        limit_req zone=all burst={burst} nodelay;
        listen 127.0.0.1:{port}{tls};
        root {root};
        {certificate}
    }}
}}
"""


class Nginx:
    """`root` is served; a bucket is a folder in it. A context manager.

    `rate` is how many requests a second are answered with other than 503 while `throttle` says so.
    """

    def __init__(
        self,
        binary: str,
        folder: Path,
        certificates: Certificates | None = None,
        rate: int = 1000,
    ) -> None:
        self.root = folder / "root"
        work = folder / "work"
        self.root.mkdir(parents=True)
        work.mkdir()
        self.port = _free_port()
        self.endpoint = f"{'https' if certificates else 'http'}://127.0.0.1:{self.port}"
        lines = ""
        if certificates:
            lines = f"ssl_certificate {certificates.chain}; ssl_certificate_key {certificates.key};"
        self._limited = work / "limited"
        configuration = work / "nginx.conf"
        configuration.write_text(
            CONFIGURATION.format(
                work=work,
                root=self.root,
                port=self.port,
                tls=" ssl" if certificates else "",
                certificate=lines,
                rate=rate,
                burst=max(1, rate // 20),
            )
        )
        command = ["sh", "-c", WATCHED, "sh", binary, "-p", str(work), "-c", str(configuration)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
        self._await_listening()

    def put(self, bucket: str, key: str, data: bytes) -> None:
        path = self.root / bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def throttle(self, on: bool) -> None:
        """Answer requests above `rate` with 503, as S3 does; or no longer."""
        if on:
            self._limited.touch()
        else:
            self._limited.unlink()

    def __enter__(self) -> Nginx:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(STOP_TIMEOUT)

    def _await_listening(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if time.monotonic() > deadline:
                    self.close()
                    raise
                time.sleep(0.02)
            else:
                return


def nginx_binary(environ: Mapping[str, str]) -> str:
    """Where nginx is. Without one: a failure in CI, where it belongs to the set-up, else a skip."""
    binary = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if binary is None:
        if environ.get("CI") == "true":
            pytest.fail("nginx is missing: apt-get install nginx", pytrace=False)
        pytest.skip("apt-get install nginx")
    return binary


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
