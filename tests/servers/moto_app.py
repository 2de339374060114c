"""The child process of ``embedded_s3``: moto's S3 behind an HTTP/1.1 server with keep-alive.

Started as a script. Prints one line of JSON (the port it listens on, an access key, its secret
key), answers until its standard input ends, which the parent's death brings about too, and exits.
Moto's authentication is on (``INITIAL_NO_AUTH_ACTION_COUNT`` is 0): every signature is checked.

werkzeug's own handler closes each connection after one response, so this module's handler sends
the responses itself: a body read in full before the application runs, a ``Content-Length`` on
every response, head and body in one write. One thread a connection.

Two paths are answered here and never reach moto: ``GET`` and ``DELETE`` on ``RECORD_PATH`` give
and clear the record of requests. A request whose ``User-Agent`` carries ``FIXTURE_AGENT`` is the
fixture's own and is not recorded.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from moto import settings
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.iam.models import AccessKey, iam_backends
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server
from werkzeug.wsgi import get_input_stream

sys.path.insert(0, str(Path(__file__).parents[1]))

from servers.record import FIXTURE_AGENT, RECORD_PATH, Record
from servers.s3_rules import S3Rules, correct_authorization

BODILESS = {204, 304}


class KeepAliveHandler(MotoRequestHandler):
    """Serves one connection: request after request until the client closes it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    record = Record()

    def run_wsgi(self) -> None:
        if self.headers.get("Expect", "").lower().strip() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        environ = self.make_environ()
        body = get_input_stream(environ).read()
        if self.path.startswith(RECORD_PATH):
            self._answer_control()
            return
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        environ["werkzeug.request_body"] = body
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        environ.pop("wsgi.input_terminated", None)
        status = "500 Internal Server Error"
        headers: list[tuple[str, str]] = []

        def start_response(line: str, fields: list[tuple[str, str]], _: Any = None) -> Any:
            nonlocal status, headers
            status, headers = line, fields

        chunks: Iterable[bytes] = self.server.app(environ, start_response)
        try:
            content = b"".join(chunks)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
        code, _, reason = status.partition(" ")
        self._note(int(code), headers, len(content))
        self._send(int(code), reason, headers, content)

    def _note(self, status: int, headers: list[tuple[str, str]], sent: int) -> None:
        agent = self.headers.get("User-Agent", "")
        if FIXTURE_AGENT in agent:
            return
        path, _, query = self.path.partition("?")
        described = {name.lower(): value for name, value in headers}
        self.record.add(
            {
                "method": self.command,
                "path": path,
                "query": query,
                "range": self.headers.get("Range"),
                "if_match": self.headers.get("If-Match"),
                "signed": "Authorization" in self.headers,
                "user_agent": agent,
                "headers": dict(self.headers.items()),
                "status": status,
                "length": int(described.get("content-length", sent)),
                "connection": self.client_address[1],
            }
        )

    def _answer_control(self) -> None:
        entries: list[dict[str, Any]] = []
        if self.command == "DELETE":
            self.record.clear()
        else:
            entries = self.record.take()
        self._send(200, "OK", [("Content-Type", "application/json")], json.dumps(entries).encode())

    def _send(self, code: int, reason: str, headers: list[tuple[str, str]], body: bytes) -> None:
        lines = [f"HTTP/1.1 {code} {reason}", f"Date: {self.date_time_string()}"]
        names = {name.lower() for name, _ in headers}
        lines += [
            f"{name}: {value}"
            for name, value in headers
            if name.lower() not in ("connection", "transfer-encoding", "date")
        ]
        if "content-length" not in names and code not in BODILESS:
            lines.append(f"Content-Length: {len(body)}")
        if self.close_connection:
            lines.append("Connection: close")
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        if self.command == "HEAD" or code in BODILESS:
            body = b""
        self.wfile.write(head + body if len(body) < 65536 else head)
        if len(body) >= 65536:
            self.wfile.write(body)

    def log(self, type: str, message: str, *args: Any) -> None:
        """Say nothing for each request; what goes wrong is written by the server itself."""
        if type == "error":
            sys.stderr.write(message % args + "\n")


def require_authentication() -> AccessKey:
    """Make moto check every signature, and give the key of a user who may do anything in S3."""
    iam = iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
    iam.create_user(region_name="us-east-1", user_name="tester")
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy("tester", "everything-in-s3", policy)
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    return iam.create_access_key("tester")


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends us
    correct_authorization()
    access_key = require_authentication()
    app = S3Rules(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=KeepAliveHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    introduction = {
        "port": server.server_port,
        "access_key": access_key.access_key_id,
        "secret_key": access_key.secret_access_key,
    }
    print(json.dumps(introduction), flush=True)
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
