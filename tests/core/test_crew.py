"""The crew: another fetcher where one is saturated, and long reads shared out to all of them."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator

import pytest
from servers.faults import FaultyObject, part, pattern, status
from servers.scripted import ScriptedServer
from transfers import stays_poisoned

from s3reader import crew
from s3reader._ext.counters import Counters
from s3reader._ext.fetcher import Fetcher
from s3reader._ext.scatter import Scatter
from s3reader.crew import Crew
from s3reader.errors import ObjectNotFoundError
from s3reader.gather import Part, gather
from s3reader.source import ObjectSource

MiB = 1024 * 1024
DATA = pattern(36 * MiB)

OpenSource = Callable[..., tuple[ObjectSource, ScriptedServer]]


@pytest.fixture
def many_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "_most_fetchers", lambda: 3)


@pytest.fixture
def new_crew(many_processors: None) -> Iterator[Callable[[int], Crew]]:
    made: list[Crew] = []

    def make(connections: int) -> Crew:
        made.append(Crew(lambda: Fetcher(Counters(), connections, "s3reader-test"), connections))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_saturated_fetchers_get_another(new_crew: Callable[[int], Crew]) -> None:
    own = new_crew(16)
    assert [each.limit for each in own.fetchers] == [16]
    own.note([0.95])
    assert [each.limit for each in own.fetchers] == [8, 8]
    own.note([0.95, 0.95])
    assert [each.limit for each in own.fetchers] == [6, 6, 6]
    own.note([1.0, 1.0, 1.0])
    assert len(own.fetchers) == 3, "more than half of the processors"


@pytest.mark.parametrize("loads", [[0.5], [0.89], [1.0, 1.0]])
def test_what_does_not_saturate_does_not(
    new_crew: Callable[[int], Crew], loads: list[float]
) -> None:
    own = new_crew(16)
    own.note(loads)
    assert own.fetchers == [own.first]


def test_superfluous_fetchers_rest(new_crew: Callable[[int], Crew]) -> None:
    own = new_crew(16)
    own.note([1.0])
    own.note([0.4, 0.4])  # one would have 0.8
    assert len(own.fetchers) == 2
    own.note([0.2, 0.2])
    assert own.fetchers == [own.first]
    assert own.first.limit == 16


def test_there_are_no_more_fetchers_than_connections(new_crew: Callable[[int], Crew]) -> None:
    own = new_crew(1)
    own.note([1.0])
    assert own.fetchers == [own.first]


def test_processors_are_those_that_may_be_used() -> None:
    assert crew._most_fetchers() == max(1, len(os.sched_getaffinity(0)) // 2)


@pytest.fixture
def shared(
    open_source: OpenSource, many_processors: None
) -> Callable[..., tuple[ObjectSource, FaultyObject]]:
    """A source whose long reads three fetchers share."""

    def start(**settings: object) -> tuple[ObjectSource, FaultyObject]:
        faulty = FaultyObject(DATA)
        source, _ = open_source(faulty, **{"part_size": MiB, "max_connections": 6, **settings})
        for count in (1, 2):
            source.session.crew.note([1.0] * count)
        assert len(source.session.crew.fetchers) == 3
        return source, faulty

    return start


@pytest.mark.parametrize("size_known", [True, False])
@pytest.mark.parametrize("part_size", [MiB, 8 * MiB])
def test_long_read_is_shared_out(shared: OpenSource, size_known: bool, part_size: int) -> None:
    source, _ = shared(part_size=part_size)
    if size_known:
        source.info()
    before = [each.busy for each in source.session.crew.fetchers]
    fetchers = source.session.crew.fetchers
    target = bytearray(len(DATA))
    assert source().readinto(target) == len(DATA)
    assert target == DATA
    assert all(each.busy > busy for each, busy in zip(fetchers, before, strict=True))


def test_short_read_is_the_first_ones(shared: OpenSource) -> None:
    source, _ = shared()
    others = source.session.crew.fetchers[1:]
    target = bytearray(3 * MiB)
    assert source().readinto(target) == 3 * MiB
    assert target == DATA[: 3 * MiB]
    assert [each.busy for each in others] == [0, 0]


@pytest.mark.parametrize("number", [0, 1, 2, 30])
def test_failure_in_any_share_ends_the_read(shared: OpenSource, number: int) -> None:
    source, faulty = shared()
    source.info()
    begins = part(number * MiB // 4096)
    faulty.go_wrong(status(404, "NoSuchKey"), where=begins)
    target = bytearray(len(DATA))
    with pytest.raises(ObjectNotFoundError):
        source().readinto(target)
    assert stays_poisoned(target)
    faulty.go_wrong(None)
    assert source().readinto(target) == len(DATA)
    assert target == DATA


def test_closing_the_client_ends_all(shared: OpenSource) -> None:
    source, _ = shared()
    source().readinto(bytearray(len(DATA)))
    fetchers = source.session.crew.fetchers
    source.session.close()
    for each in fetchers:
        with pytest.raises(ValueError, match="closed"):
            each.submit([])


def test_gathered_parts_are_shared_out(shared: OpenSource) -> None:
    source, _ = shared()
    source.info()
    target = (ctypes.c_char * len(DATA))()
    parts = [Part(source, at, at + MiB) for at in range(0, len(DATA), MiB)]
    places = [(0, len(DATA), ctypes.addressof(target))]
    told = list(gather(source.session, parts, lambda *_: Scatter(places, target)))
    assert {part for part, _, _ in told} == set(parts)
    assert bytes(target) == DATA
    assert all(each.busy > 0 for each in source.session.crew.fetchers)
