"""nginx as a child that does not outlive its parent; what it serves is the caller's configuration.

The tests' server and the benchmark's are this one with other configurations. nginx itself would
outlive a run that is killed, so a shell starts it and ends it, by its id, once the shell's standard
input ends. Imports nothing of the tests, which the benchmark runs without.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

START_TIMEOUT = 10.0  # seconds until nginx must accept
STOP_TIMEOUT = 10.0

INSTALL = "apt-get install nginx libnginx-mod-http-lua, or dnf install nginx nginx-mod-http-lua"

WATCHED = 'exec 3<&0; "$@" </dev/null & nginx=$!; read -r _ <&3; kill $nginx; wait $nginx'

PATHS = """
pid {work}/nginx.pid;
daemon off;
error_log stderr crit;
"""
"""For the main context: nothing outside ``work``."""

HTTP_PATHS = """
    default_type application/octet-stream;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    sendfile on;
    tcp_nopush off;
    keepalive_timeout 60s;
"""
"""For the http context: the same, and how static files are served well.

Not with ``tcp_nopush``, usual though it is: on loopback it has kept the end of every answer of 64
KiB back for 40 ms, as long as an acknowledgement may be delayed.
"""


class NginxEnded(RuntimeError):
    """nginx did not begin to accept connections."""


class NginxProcess:
    """A running nginx. A context manager.

    Args:
        binary: from `find_nginx`.
        work: a folder for what nginx writes, which exists.
        configuration: with `PATHS` and `HTTP_PATHS` in it.
        port: on loopback, where the configuration listens; see `free_port`.

    Raises:
        NginxEnded: it ended at once, or listens nowhere; its own message is on standard error.
    """

    def __init__(self, binary: str, work: Path, configuration: str, port: int) -> None:
        self.port = port
        path = work / "nginx.conf"
        path.write_text(configuration)
        command = ["sh", "-c", WATCHED, "sh", binary, "-p", str(work), "-c", str(path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
        self._await_listening(work / "nginx.pid")

    def __enter__(self) -> NginxProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End nginx and wait until it is gone."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(STOP_TIMEOUT)

    def _await_listening(self, pid: Path) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if time.monotonic() > deadline:
                    self.close()
                    missing = "" if pid.exists() else " and ended, see its message above"
                    raise NginxEnded(f"nginx does not accept connections{missing}") from None
                time.sleep(0.02)
            else:
                return


def find_nginx() -> str | None:
    """Where nginx is, if it is anywhere."""
    return shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
