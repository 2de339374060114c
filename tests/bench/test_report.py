"""The report's arithmetic, the verdicts, and documents that say what the stored results say."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

pytest.importorskip("numpy", reason="the benchmark needs it")

import publish
from cases import BY_NAME
from objects import FULL, QUICK
from report import as_markdown, figures, readme_table, target_rows, verdicts
from results import failures, load, save, table_of
from scores import Run, Score, Table, cpu, wall
from targets import Target, flat, share_of_latency, share_of_shape, times_best_peer

GB = 1_000_000_000
SLOW = Run(2.0, 0.5, 0.5, 20_000_000, 10, 10, 128, 16)
FAST = Run(1.0, 0.25, 0.25, 10_000_000, 10, 10, 1, 1)
ABOUT = {"machine": {"cores": 2}, "settings": {"rounds": 3}}


def score(name: str, peer: str, *runs: Run, work: int = GB, **rest: object) -> Score:
    return Score(name, peer, work, runs=list(runs), **rest)  # type: ignore[arg-type]


def readinto_table(*own: Run) -> Table:
    return table_of(
        "readinto",
        [
            score("recv, touched memory", "floor", FAST, FAST, FAST),
            score("s3reader sequential", "s3reader", *own),
            score("obstore, 16 threads", "obstore", SLOW, SLOW, SLOW),
            score("pycurl by hand", "pycurl", replace(SLOW, wall=1.5), SLOW, SLOW),
            score("s3fs", "s3fs", missing="not installed: 's3fs'"),
        ],
    )


def test_ratio_is_the_median_of_the_rounds_ratios() -> None:
    # A slow first round slows both: the ratio of the medians would be 1.5.
    floor = score("floor", "floor", replace(FAST, wall=4.0), FAST, replace(FAST, wall=2.0))
    own = score("own", "s3reader", replace(FAST, wall=4.4), replace(FAST, wall=1.1), SLOW)
    assert own.ratio(floor, wall) == pytest.approx(1.1)


def test_speed_and_cost_are_in_the_unit_of_the_case() -> None:
    table = readinto_table(FAST)
    assert table.speed(table.scores[1]) == pytest.approx(1.0)  # GB/s
    assert table.cost(table.scores[1]) == pytest.approx(0.5)  # CPU s/GB
    small = table_of("small-objects", [score("s3reader sequential", "s3reader", FAST, work=2000)])
    assert small.speed(small.scores[0]) == pytest.approx(2000)
    assert small.cost(small.scores[0]) == pytest.approx(250)  # µs


def test_best_peer_is_neither_ours_nor_a_floor_nor_missing() -> None:
    table = readinto_table(FAST)
    best = table.best_peer(cpu)
    assert best is not None
    assert best.name == "obstore, 16 threads"


@pytest.mark.parametrize(
    ("limit", "at_most", "value", "met"),
    [
        (1.1, True, 1.1, True),
        (1.1, True, 1.104, True),  # as it is written: 1.10
        (1.1, True, 1.11, False),
        (2.0, False, 2.0, True),
        (2.0, False, 1.99, False),
    ],
)
def test_target_is_met_as_the_figure_is_written(
    limit: float, at_most: bool, value: float, met: bool
) -> None:
    target = Target("", limit, at_most, lambda *_: None)
    assert target.met(value) is met


def test_verdicts_say_met_missed_and_not_measured() -> None:
    within = replace(FAST, extra_memory=16_000_000, wall=1.2)
    rows = list(verdicts([readinto_table(within, within, within)], ABOUT))
    assert [(row.target.text, row.result) for row in rows] == [
        ("CPU ÷ floor", "met"),
        ("time ÷ floor", "**missed**"),
        ("extra MB", "met"),
    ]
    alone = list(verdicts([readinto_table()], ABOUT))
    assert {row.result for row in alone} == {"not measured"}


def test_speed_by_the_best_peer_is_above_one_when_ours_is_faster() -> None:
    table = readinto_table(FAST, FAST, FAST)
    value = times_best_peer(2.0).figure(table, table.scores[1], ABOUT)
    assert value == pytest.approx(2.0)


def test_share_of_the_shape_counts_the_connections_of_each_run() -> None:
    run = replace(FAST, connections=10, requests=500)
    own = score("s3reader", "s3reader", run, work=900_000_000)
    table = Table("readinto-shaped", readinto_table().unit, [own])
    assert share_of_shape(1).figure(table, own, ABOUT) == pytest.approx(1.0)
    about = {"shape": {"small": 0.02}}
    assert share_of_latency(1).figure(table, own, about) == pytest.approx(1.0)
    assert share_of_latency(1).figure(table, own, {}) is None


def test_flat_is_the_largest_deviation_from_the_middle() -> None:
    points = [
        score(name, "s3reader", replace(FAST, user=user, system=0.0))
        for name, user in (("1 MiB", 1.2), ("8 MiB", 1.0), ("64 MiB", 0.95))
    ]
    table = table_of("growth-size", points)
    assert flat(0.1).figure(table, points[0], ABOUT) == pytest.approx(0.2)


def test_ranks_together_are_held_to_what_one_takes_alone() -> None:
    apart = score("s3reader dcp", "s3reader", replace(FAST, requests=400, parts={"fetched": 4.0}))
    shared = replace(FAST, requests=104, parts={"fetched": 1.02})
    together = score("s3reader dcp, cooperative", "s3reader", shared)
    table = table_of("dcp-together", [apart, together])
    requests, fetched = BY_NAME["dcp-together"].targets
    assert requests.figure(table, together, ABOUT) == pytest.approx(1.04)
    assert fetched.figure(table, together, ABOUT) == pytest.approx(1.02)


def test_results_are_the_same_after_saving_and_loading(tmp_path: Path) -> None:
    tables = [readinto_table(FAST, SLOW)]
    tables[0].scores[2].failed = True
    tables[0].scores[2].missing = "broke"
    save(tables, ABOUT, tmp_path)
    again, about = load(tmp_path / "results.json")
    assert again == tables
    assert about == ABOUT
    assert failures(again) == ["readinto: obstore, 16 threads: broke"]


def test_report_gives_the_reason_of_whoever_is_missing() -> None:
    text = as_markdown([readinto_table(FAST, FAST, FAST)], ABOUT)
    assert "- s3fs: not installed: 's3fs'" in text
    assert "| s3fs | \N{EN DASH} |" in text


def test_rows_have_as_many_cells_as_titles() -> None:
    tables = [readinto_table(FAST, FAST, FAST)]
    for rows in (readme_table(tables), target_rows(tables, ABOUT)):
        assert len({row.count(" | ") for row in rows}) == 1


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1,234"), (0.1234, "0.123"), (12.34, "12.3"), (0, "0")]
)
def test_figures_have_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert figures(value) == text


MARKED = "before\n<!-- bench: table -->\nolder\n<!-- bench: end -->\nafter\n"


def test_documents_quote_a_full_run_and_no_other() -> None:
    tables = [readinto_table(FAST, FAST, FAST)]
    full = ABOUT | {"settings": asdict(FULL) | {"rounds": publish.ROUNDS}}
    text = publish.filled(MARKED, tables, full)
    assert "**1**" in text
    assert "older" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert publish.filled(text, tables, full) == text
    for less in (asdict(QUICK) | {"rounds": 5}, asdict(FULL) | {"rounds": 1}):
        assert publish.NOT_YET in publish.filled(MARKED, tables, ABOUT | {"settings": less})


def stored_run(folder: Path, date: str, *tables: Table, rounds: int = publish.ROUNDS) -> Path:
    about = {
        "date": date,
        "machine": {"cores": 2, "processor": "one", "kernel": "Linux-6.1"},
        "versions": {tables[0].scores[-1].peer: date},
        "settings": asdict(FULL) | {"rounds": rounds},
    }
    save(tables, about, folder)
    return folder


def test_cases_that_were_measured_again_take_the_place_of_the_stored_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = table_of("small-objects", [score("s3reader sequential", "s3reader", SLOW, work=2000)])
    older, newer = readinto_table(SLOW, SLOW, SLOW), readinto_table(FAST, FAST, FAST)
    added = table_of("chunks", [score("s3reader sequential", "s3reader", FAST)])
    monkeypatch.setattr(publish, "STORED", stored_run(tmp_path / "all", "May", older, small))
    monkeypatch.setattr(publish, "DOCUMENTS", ())
    assert publish.store(stored_run(tmp_path / "one", "June", added, newer))
    tables, about = load(publish.STORED / "results.json")
    assert tables == [newer, added, small]
    assert about["apart"] == {"chunks": "June", "readinto": "June"}
    assert about["date"] == "May"
    marked = "<!-- bench: about -->\n<!-- bench: end -->\n"
    assert "since, by themselves: chunks (June), readinto (June)." in publish.filled(
        marked, tables, about
    )
    assert "- apart: chunks June, readinto June" in (publish.STORED / "results.md").read_text()


def test_fewer_rounds_are_not_stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(publish, "STORED", tmp_path / "stored")
    monkeypatch.setattr(publish, "DOCUMENTS", ())
    run = stored_run(tmp_path / "run", "May", readinto_table(FAST), rounds=publish.ROUNDS - 1)
    assert not publish.store(run)
    assert not publish.STORED.exists()


@pytest.mark.parametrize("name", publish.DOCUMENTS)
def test_document_says_what_the_stored_results_say(name: str) -> None:
    tables, about = load(publish.STORED / "results.json")
    text = (publish.CHECKOUT / name).read_text()
    assert "<!-- bench: " in text
    assert publish.filled(text, tables, about) == text


def test_stored_results_are_of_cases_that_exist() -> None:
    tables, _ = load(publish.STORED / "results.json")
    assert {table.case for table in tables} <= set(BY_NAME)
