"""How far ahead a stream looks: as far as the throughput target asks for, and no further."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from servers.faults import ETAG, PART, FaultyObject, pattern
from servers.scripted import ScriptedServer, object_script

from s3reader import SequentialS3Reader
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


def test_headers_between_large_records_keep_no_parts(open_source: OpenSource) -> None:
    """As `torch.load` reads: a few bytes, then a tensor straight into its memory."""
    part, count = 1 << 20, 20
    record = 3 * part
    data = pattern(count * record)
    source, _ = open_source(object_script(data, ETAG), part_size=part, max_connections=2)
    reader = SequentialS3Reader("bucket", "key", source.info, source)
    target = bytearray(record - 30)
    for start in range(0, len(data), record):
        assert reader.read(30) == data[start : start + 30]
        assert reader.readinto(target) == len(target)
        assert target == data[start + 30 : start + record]
        # What is ahead, and the first header's part: the way of reading was not known then.
        assert source.session.pool.in_use <= 6 * part
    reader.seek(0)
    assert b"".join(reader) == data
    reader.close()
