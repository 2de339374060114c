"""The demo as a user runs it, and that it notices what it is there to notice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import s3reader
from s3reader import demo
from s3reader.__main__ import main

STAGES = {
    "digit headers": "ranged",
    "digits, 2 workers": "ranged",
    "held-out digits": "dcp_optimized",
    "photographs": "sequential",
    "checkpoint": "sequential",
}
TIME_LIMIT = 100  # seconds; the demo is to take less than 60 on an idle machine

# Runs the demo with an S3 that keeps another byte than it was given, in one object.
FLIPPING = """
import sys
from s3reader.__main__ import main
from s3reader.demo.storage import Storage

put = Storage.put

def put_flipped(self, key, data):
    flipped = bytearray(data)
    if key == "digits/pixels-2.npy":
        flipped[1000] ^= 1
    put(self, key, bytes(flipped))
    self.source[key] = data

Storage.put = put_flipped
sys.exit(main(["demo"]))
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in `folder`, with the package that this test has imported."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(s3reader.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
    )


def test_every_byte_is_right_and_the_table_tells(tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "s3reader", "demo")
    assert done.returncode == 0, done.stderr
    assert "Every byte read is the one that was put there" in done.stdout
    headings, *rows = done.stdout.split("\n\n")[0].splitlines()
    assert headings.split() == ["what", "reader", "bytes", "requests", "retries", "time"]
    assert [row.split("  ")[0] for row in rows] == list(STAGES)
    for row in rows:
        what = row.split("  ")[0]
        reader, read, requests, retries, seconds, unit = row.removeprefix(what).split()
        assert reader == STAGES[what]
        assert int(read.replace(",", "")) > 0
        assert int(requests.replace(",", "")) > 0
        assert int(retries) == 0
        assert (float(seconds) > 0, unit) == (True, "s")
    assert "Traceback" not in done.stderr


def test_flipped_byte_fails_and_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "-c", FLIPPING)
    assert done.returncode == 1, done.stderr
    assert "digits/pixels-2.npy: byte 1000 is 0x" in done.stderr
    assert "Every byte read" not in done.stdout


def test_missing_packages_are_named_with_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda module: module not in ("tqdm", "moto"))
    assert main(["demo"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("The demo needs moto[s3,server], tqdm.")
    assert 'pip install "s3reader[demo]"' in error


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"s3reader {s3reader.__version__}\n"


def test_no_command_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "COMMAND" in capsys.readouterr().err
