"""What the hammer reads, and a process that serves it.

In a process of its own the server takes no turns from the client's threads, and what it remembers
is not counted as the client's memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

from servers.faults import pattern
from servers.scripted import Reply, Request, ScriptedServer, object_script

OBJECTS = {f"good/{number}": pattern(3000 + 2500 * number)[number:] for number in range(8)}
FORGET = 2.0  # seconds after which a server that is asked much forgets what it was asked


def objects(request: Request) -> Reply:
    """The good ones as they are; each bad one goes wrong in a way of its own."""
    key = request.target.removeprefix("/bucket/")
    if key in OBJECTS:
        reply = object_script(OBJECTS[key])(request)
        broken = request.index % 97 == 0
        return dataclasses.replace(reply, cut_after=700, reset=True) if broken else reply
    reply = object_script(pattern(9000))(request)
    return {
        "bad/404": Reply(404),
        "bad/403": Reply(403, {}, b"<Error><Code>AccessDenied</Code></Error>"),
        "bad/reset": dataclasses.replace(reply, cut_after=20, reset=True),
        "bad/short": Reply(reply.status, {**reply.headers, "Content-Length": "100"}, b"x" * 100),
        "bad/changed": Reply(
            reply.status,
            {**reply.headers, "ETag": f'"{request.index}"'},
            reply.body,
        ),
    }[key]


def _serve(connection: Connection, script: Callable[[Request], Reply]) -> None:
    with ScriptedServer(script) as server:
        connection.send(server.endpoint)
        while not connection.poll(FORGET):
            server.answer_by(script)


@contextlib.contextmanager
def serving(script: Callable[[Request], Reply] = objects) -> Iterator[str]:
    """A server in a process of its own; gives its endpoint. ``script`` is a module's function."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, script))
    process.start()
    there.close()
    try:
        yield here.recv()
    finally:
        here.close()
        process.join(10)
        process.kill()
        process.join()
