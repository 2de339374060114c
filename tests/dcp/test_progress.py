"""The bar, and the function in its place."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from alone import ALONE

from s3reader.dcp.progress import Bar

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is")


def test_function_is_told_of_every_byte(save: Any, reader_of: Any) -> None:
    told: list[tuple[int, int]] = []
    reader = reader_of(
        save({"weights": torch.zeros(3_000_000)}),
        progress=lambda done, total: told.append((done, total)),
    )
    for _ in range(2):
        told.clear()
        dcp.load({"weights": torch.ones(3_000_000)}, storage_reader=reader, **ALONE)
        assert told[0][0] == 0
        assert told == sorted(told)
        assert told[-1][0] == told[-1][1] > 12_000_000


def test_bar_is_shown_when_asked(
    save: Any, reader_of: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = save({"weights": torch.zeros(1000)})
    for progress in (False, True):
        reader = reader_of(uri, progress=progress)
        dcp.load({"weights": torch.ones(1000)}, storage_reader=reader, **ALONE)
        shown = capsys.readouterr().err
        assert (f"loading {uri}" in shown) == progress
        assert ("100%" in shown) == progress


def test_bar_tells_bytes_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    stream = io.StringIO()
    bar = Bar("loading it", stream)
    for seconds, done in ((1, 2_000_000_000), (1.01, 2_020_000_000), (5, 10_000_000_000)):
        clock[0] = 100.0 + seconds
        bar(done, 10_000_000_000)
    first, last = stream.getvalue().removeprefix("\r").split("\r")
    assert "20% 2.00/10.00 GB 2.00 GB/s 4 s left" in first
    assert "100% 10.00/10.00 GB 2.00 GB/s 5.0 s" in last
    assert last.endswith("\n")
