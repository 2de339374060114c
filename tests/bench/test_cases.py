"""The list of cases: complete, and nobody left out of one without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("numpy", reason="the benchmark needs it")

from case import Case
from cases import CASES
from contenders import BY_NAME, CONTENDERS, Contender, can
from growth import GROWTH
from measure import ENVIRONMENT
from objects import FULL, QUICK
from scores import FLOOR, OWN, UNITS
from serving import KINDS
from works import WORKS

EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
COMPARED = [case for case in CASES if not case.alone and not case.checkpoint]
PEERS = [contender for contender in CONTENDERS if contender.peer not in (FLOOR, OWN)]


def test_names_of_cases_and_contenders_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert len(BY_NAME) == len(CONTENDERS)


@EVERY_CASE
def test_case_names_what_exists(case: Case) -> None:
    assert case.work in WORKS | GROWTH | {"cold": None, "checkpoint": None}
    assert case.unit in UNITS
    assert case.server in KINDS


@pytest.mark.parametrize("case", COMPARED, ids=lambda case: case.name)
def test_our_contenders_can_do_the_case_they_answer_for(case: Case) -> None:
    assert case.ours
    assert all(can(BY_NAME[name], case.method) for name in case.ours)


@pytest.mark.parametrize("contender", PEERS, ids=lambda contender: contender.name)
def test_peer_that_cannot_do_a_case_says_why(contender: type[Contender]) -> None:
    silent = [
        case.name
        for case in COMPARED
        if not can(contender, case.method) and case.method not in contender.cannot
    ]
    assert silent == []


@pytest.mark.parametrize("contender", PEERS, ids=lambda contender: contender.name)
def test_peer_does_what_it_is_not_said_to_be_unable_to(contender: type[Contender]) -> None:
    assert [method for method in contender.cannot if can(contender, method)] == []


@pytest.mark.parametrize("case", [case for case in CASES if case.points], ids=lambda c: c.name)
def test_growth_has_points_up_to_its_limit_in_both_sizes(case: Case) -> None:
    assert case.points is not None
    full, quick = case.points(FULL), case.points(QUICK)
    assert full == sorted(full)
    assert len(quick) > 1
    assert set(quick) <= set(full) | {QUICK.largest, QUICK.most_requests}


def test_growth_goes_as_far_as_promised() -> None:
    furthest = {case.name: case.points(FULL)[-1] for case in CASES if case.points}
    assert furthest == {
        "growth-size": 8 * 1024**3,
        "growth-requests": 100_000,
        "growth-connections": 256,
    }


def test_no_contender_looks_for_credentials_of_the_user() -> None:
    assert ENVIRONMENT["AWS_EC2_METADATA_DISABLED"] == "true"
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        assert not Path(ENVIRONMENT[name]).exists()
