"""nginx serving a folder on a free loopback port: a real server, with keep-alive and TLS.

It answers GET, HEAD and byte ranges with an ETag, which is all the readers ask of S3 (unsigned).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from servers.certificates import Certificates
from servers.nginx_process import HTTP_PATHS, PATHS, NginxProcess, find_nginx, free_port

CONFIGURATION = """
{paths}
master_process off;
events {{ worker_connections 1024; }}
http {{
    {http_paths}
    access_log off;
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


class Nginx(NginxProcess):
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
        port = free_port()
        self.endpoint = f"{'https' if certificates else 'http'}://127.0.0.1:{port}"
        lines = ""
        if certificates:
            lines = f"ssl_certificate {certificates.chain}; ssl_certificate_key {certificates.key};"
        self._limited = work / "limited"
        configuration = CONFIGURATION.format(
            paths=PATHS.format(work=work),
            http_paths=HTTP_PATHS.format(work=work),
            work=work,
            root=self.root,
            port=port,
            tls=" ssl" if certificates else "",
            certificate=lines,
            rate=rate,
            burst=max(1, rate // 20),
        )
        super().__init__(binary, work, configuration, port)

    def __enter__(self) -> Nginx:
        return self

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


def nginx_binary(environ: Mapping[str, str]) -> str:
    """Where nginx is. Without one: a failure in CI, where it belongs to the set-up, else a skip."""
    binary = find_nginx()
    if binary is None:
        if environ.get("CI") == "true":
            pytest.fail("nginx is missing: apt-get install nginx", pytrace=False)
        pytest.skip("apt-get install nginx")
    return binary
