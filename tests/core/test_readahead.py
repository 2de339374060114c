"""How far ahead a stream looks: as far as the throughput target asks for, and no further."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from servers.faults import PART, FaultyObject, pattern
from servers.scripted import ScriptedServer

from s3reader.source import ObjectSource

DATA = pattern(48 * PART)

OpenSource = Callable[..., tuple[ObjectSource, ScriptedServer]]


def slow() -> FaultyObject:
    faulty = FaultyObject(DATA)
    faulty.go_wrong(lambda request, reply: dataclasses.replace(reply, delay=0.05))
    return faulty


def test_window_grows_while_the_target_is_missed(open_source: OpenSource) -> None:
    source, server = open_source(slow(), max_connections=8)
    assert b"".join(source()) == DATA
    assert server.connections == 8


def test_window_stays_small_where_the_target_is_met(open_source: OpenSource) -> None:
    source, server = open_source(slow(), max_connections=8, throughput_target_gbps=1e-6)
    assert b"".join(source()) == DATA
    assert server.connections == 2
