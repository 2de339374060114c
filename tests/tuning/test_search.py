"""Which settings are tried and recommended, on networks whose rates are known."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from s3reader.bench.advice import FEWEST_ROUNDS, Advice, advise, compare, config_line
from s3reader.bench.candidates import DEFAULT_CONNECTIONS, Candidate
from s3reader.bench.report import aligned, as_json, recommendation, table
from s3reader.bench.search import LONGEST, Search
from s3reader.bench.trial import Outcome
from s3reader.config import MiB

Network = Callable[[Candidate], float]
CONNECTION = 85e6  # bytes a second of one connection


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def searched(
    network: Network,
    *,
    seconds: float = 60,
    small: bool = False,
    most_bytes: int = 10**15,
    throttles: int = 0,
    cpu: float = 0.1,
    largest: int = 1 << 30,
) -> Search:
    """A search over a network that gives `network(candidate)` bytes, or objects, a second."""
    clock = Clock()

    def trial(candidate: Candidate, length: float, limit: int) -> Outcome:
        clock.now += length
        amount = round(network(candidate) * length)
        assert limit > 0
        return Outcome(
            candidate=candidate,
            seconds=length,
            bytes=amount,
            objects=amount,
            cpu=cpu * length,
            first_byte=0.02,
            requests=10,
            retries=1,
            throttles=throttles,
            spent=amount,
        )

    search = Search(small, trial, largest, most_bytes, clock=clock)
    search.run(seconds)
    assert clock.now <= 1000 + seconds + LONGEST
    return search


def advice_of(network: Network, **options: object) -> Advice:
    return advise(searched(network, **options), {})  # type: ignore[arg-type]


def wide(candidate: Candidate) -> float:
    """A network that more connections fill, up to 5 GB/s; the reader makes no difference."""
    return min(5e9, candidate.connections * CONNECTION)


def test_more_connections_are_recommended_where_they_help() -> None:
    advice = advice_of(wide)
    assert advice.line == "S3ClientConfig(max_connections=72)"
    assert advice.sure
    assert re.match(r"5\.00 GB/s where the defaults give 1\.53 GB/s: \+227%, ", advice.reason)


def test_larger_parts_are_recommended_where_they_help() -> None:
    advice = advice_of(lambda each: 1e9 + each.part_size * 10)
    assert advice.line == "S3ClientConfig(part_size=32 * 1024 * 1024)"


def test_parts_that_an_object_has_not_two_of_are_not_tried() -> None:
    tried = searched(lambda _: 1e9, largest=20 * MiB).outcomes
    assert {each.part_size for each in tried} == {8 * MiB, 4 * MiB}


def test_defaults_are_kept_where_nothing_helps() -> None:
    advice = advice_of(lambda _: 1e8)
    assert (advice.line, advice.sure) == ("S3ClientConfig()", True)


def test_defaults_are_kept_rather_than_fewer_connections_that_are_as_fast() -> None:
    search = searched(lambda each: min(4 * CONNECTION, each.connections * CONNECTION))
    assert {each.connections for each in search.outcomes} >= {4, 9, DEFAULT_CONNECTIONS}
    assert advise(search, {}).candidate == search.default


def test_noise_is_hardly_ever_taken_for_a_gain() -> None:
    wrong = 0
    for seed in range(100):
        noise = random.Random(seed)
        wrong += not advice_of(lambda _, noise=noise: noise.gauss(1e9, 1e8)).candidate.default
    assert wrong <= 8


def test_gain_is_found_through_noise_of_every_round() -> None:
    found = 0
    for seed in range(50):
        noise = random.Random(seed)
        found += "max_connections" in (
            advice_of(lambda each, noise=noise: wide(each) * noise.uniform(0.8, 1.2)).line
        )
    assert found == 50


def test_few_rounds_are_said_to_be_too_few() -> None:
    advice = advice_of(wide, most_bytes=30 * 10**9)
    assert (advice.line, advice.sure) == ("S3ClientConfig()", False)
    assert advice.reason.endswith(f"{FEWEST_ROUNDS} are needed: give more --gigabytes")
    advice = advice_of(wide, seconds=3)
    assert advice.reason.endswith("give more --seconds")


def test_bytes_are_divided_among_the_rounds() -> None:
    most = 150 * 10**9
    search = searched(wide, most_bytes=most)
    assert most * 0.8 < search.spent < most * 1.02
    assert advise(search, {}).sure


def test_one_trial_of_the_default_is_made_however_little_time_there_is() -> None:
    search = searched(wide, seconds=0.01)
    assert list(search.outcomes) == [search.default]


def test_those_that_come_again_come_in_turn_with_the_default() -> None:
    search = searched(wide)
    assert len(search.rounds) >= FEWEST_ROUNDS
    readers = {each.reader for each in search.rounds[0]}
    assert readers == {"ranged", "sequential", "dcp_optimized"}
    for outcomes in search.rounds:
        assert outcomes.keys() == search.rounds[0].keys()
        assert search.default in outcomes


def test_small_objects_are_counted_not_weighed() -> None:
    search = searched(lambda each: 100.0 * each.connections, small=True)
    advice = advise(search, {"unsigned": True})
    assert advice.line == "S3ClientConfig(unsigned=True, max_connections=288)"
    assert "28,800 objects/s where the defaults give 1,800 objects/s" in advice.reason
    assert {each.reader for each in search.outcomes} == {"read_many", "get_object"}


def test_loss_in_a_round_makes_a_gain_uncertain() -> None:
    search = searched(wide)
    fastest = search.settings_tried()[0]
    assert compare(search, fastest, search.default).faster
    del search.rounds[FEWEST_ROUNDS:]
    first = search.rounds[0]
    first[fastest], first[search.default] = first[search.default], first[fastest]
    comparison = compare(search, fastest, search.default)
    assert (comparison.won, comparison.rounds, comparison.faster) == (4, 5, False)
    assert "faster in 4 of 5 rounds: within noise" in advise(search, {}).reason


def test_throttling_and_a_busy_processor_are_noted() -> None:
    notes = advice_of(wide, throttles=1, cpu=1.7).notes
    assert any("S3 throttled" in note for note in notes)
    assert "up to 1.7 cores were busy: this machine may be what limits" in notes


def test_reader_that_is_slower_is_noted_with_how_much() -> None:
    notes = advice_of(lambda each: wide(each) * (0.5 if each.reader == "sequential" else 1)).notes
    assert "sequential against ranged: -50%" in notes
    assert "dcp_optimized against ranged: +0%, within noise" in notes


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, "S3ClientConfig()"),
        ({"part_size": 3 * MiB // 2}, "S3ClientConfig(part_size=1536 * 1024)"),
        ({"profile": "it's"}, 'S3ClientConfig(profile="it\'s")'),
    ],
)
def test_line_is_python(settings: dict[str, object], line: str) -> None:
    assert config_line(settings) == line
    from s3reader import S3ClientConfig

    assert eval(line) == S3ClientConfig(**settings)  # type: ignore[arg-type]


def test_table_has_a_line_for_each_candidate_the_repeated_ones_first() -> None:
    search = searched(wide)
    headings, *lines = table(search).splitlines()
    assert headings.split()[:4] == ["reader", "parts", "connections", "GB/s"]
    assert len(lines) == len(search.outcomes)
    trials = [int(line.split()[-1]) for line in lines]
    assert trials == sorted(trials, reverse=True)
    assert any(line.startswith("ranged (defaults)") for line in lines)


def test_json_holds_what_the_table_and_the_advice_say() -> None:
    search = searched(wide)
    advice = advise(search, {})
    document = as_json(search, advice)
    assert document["recommendation"]["settings"] == {"max_connections": 72}
    assert document["recommendation"]["config"] in recommendation(search, advice)
    best = max(document["results"], key=lambda row: row["gigabytes_per_second"])
    assert best["gigabytes_per_second"] == pytest.approx(5.0)
    assert best["rates"] == pytest.approx([5e9] * len(best["rates"]))


def test_columns_line_up() -> None:
    assert aligned([["a", "bb"], ["ccc", "d"]]) == "a    bb\nccc   d"
