"""What goes wrong in a schedule: faults of the connection, and replies that are spoiled."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from servers.fault_proxy import Fault
from servers.faults import PART, cut, headers, status
from servers.faults import Fault as Spoil
from servers.scripted import Reply

REPLIES: dict[str, Spoil] = {
    "500": status(500, "InternalError"),
    "503": status(503, "SlowDown"),
    "503 without a body": status(503),
    "429": status(429, Retry_After="0"),
    "403": status(403, "AccessDenied"),
    "404": status(404, "NoSuchKey"),
    "expired": status(400, "ExpiredToken"),
    "redirect": status(307, "TemporaryRedirect", Location="http://127.0.0.1:1/"),
    "no range": headers(Content_Range=None),
    "other range": headers(Content_Range="bytes 5-9/10"),
    "longer than announced": lambda request, reply: replace(
        reply,
        headers={**reply.headers, "Content-Length": str(len(reply.body))},
        body=reply.body + b"more",
    ),
    "longer than asked": lambda request, reply: replace(
        reply, body=reply.body + b"more" * (request.method == "GET")
    ),
    "shorter than announced": lambda request, reply: replace(
        reply, cut_body_after=len(reply.body) // 2
    ),
    "cut head": cut(30, reset=True),
    "chunked": lambda request, reply: replace(reply, chunked=True),
    "chunked and short": lambda request, reply: replace(
        reply, chunked=True, body=reply.body[: len(reply.body) // 2]
    ),
    "not HTTP": lambda request, reply: Reply(raw=b"\x00\xff" * 90, close=True),
    "oversize head": headers(X_Padding="p" * 400_000),
    "error in a 200": lambda request, reply: Reply(
        200, body=b"<Error><Code>InternalError</Code><Message>late</Message></Error>"
    ),
    "silence": lambda request, reply: Reply(silent=True),
    "encoded": headers(Content_Encoding="gzip"),
    "interim": lambda request, reply: replace(reply, interim=b"HTTP/1.1 100 Continue\r\n\r\n"),
}


def plans() -> st.SearchStrategy[list[Fault]]:
    """Up to six faults; stalls are rarer, for each costs a timeout."""
    action = st.sampled_from(["reset", "close"] * 6 + ["delay", "drip"] * 2 + ["stall"])
    offset = st.one_of(*(st.integers(0, most) for most in (600, 2 * PART, 5 * PART, 11 * PART)))
    down = st.builds(Fault, action, offset, st.just("client"))
    up = st.builds(Fault, action, st.integers(0, 3000), st.just("server"))
    connect = st.builds(Fault, action, st.integers(0, 3), st.just("connect"))
    return st.lists(st.one_of(down, down, down, up, connect), min_size=1, max_size=6)
