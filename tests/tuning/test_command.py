"""The benchmark as a user runs it."""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers.embedded_s3 import S3
from servers.nginx import Nginx
from servers.scripted import Reply, Request, ScriptedServer

import s3reader
from s3reader import S3ClientConfig
from s3reader.__main__ import main
from s3reader.bench.report import Bar
from s3reader.config import MiB


@pytest.fixture
def credentials(s3: S3, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments that lead to `s3`; its credentials are in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    return ["--region", s3.region, *(["--endpoint", s3.endpoint] if s3.endpoint else [])]


def test_object_is_measured_and_settings_are_recommended(
    nginx: Nginx, capsys: pytest.CaptureFixture[str]
) -> None:
    nginx.put("bench", "large", bytes(40 * MiB))
    status = main(
        ["bench", "s3://bench/large", "--endpoint", nginx.endpoint, "--unsigned", "--seconds", "4"]
    )
    out, error = capsys.readouterr()
    assert (status, error) == (0, "")
    assert out.startswith("s3://bench/large: 1 large, 0 small objects, 0.0419 GB\n")
    rows = [line for line in out.splitlines() if "MiB " in line and " ms " in line]
    assert any(row.startswith("ranged (defaults)") for row in rows)
    line = re.search(r"^For large objects: (S3ClientConfig\(.*\))$", out, re.MULTILINE)
    assert line is not None
    assert eval(line[1]).unsigned
    assert re.search(r"^[\d.]+ GB were read\.$", out, re.MULTILINE)


@pytest.mark.slow
def test_connections_that_help_are_recommended(
    scripted: Callable[..., ScriptedServer], capsys: pytest.CaptureFixture[str]
) -> None:
    """As with S3, where each request waits for its first byte."""
    keys = [f"small/{number:02}" for number in range(40)]
    contents = "".join(
        f"<Contents><Key>{key}</Key><Size>1000</Size><ETag>&quot;tag&quot;</ETag></Contents>"
        for key in keys
    )
    listing = f"<ListBucketResult>{contents}<IsTruncated>false</IsTruncated></ListBucketResult>"

    def answer(request: Request) -> Reply:
        if "list-type=2" in request.target:
            return Reply(body=listing.encode())
        headers = {"ETag": '"tag"', "Content-Range": "bytes 0-999/1000"}
        return Reply(206, headers, bytes(1000), delay=0.1)

    server = scripted(answer)
    place = ["bench", "s3://bucket/small/", "--endpoint", server.endpoint, "--unsigned"]
    assert main([*place, "--region", "us-east-1", "--seconds", "25", "--json"]) == 0
    (search,) = json.loads(capsys.readouterr().out)["searches"]
    default = next(row for row in search["results"] if row["defaults"])
    assert default["objects_per_second"] == pytest.approx(15 / 0.1, rel=0.3)
    assert search["recommendation"]["settings"]["max_connections"] >= 30
    assert search["recommendation"]["sure"]


def test_both_kinds_of_objects_are_measured_and_told_as_json(
    s3: S3, bucket: str, credentials: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = f"bench-{secrets.token_hex(4)}"
    s3.put(bucket, f"{prefix}/large", bytes(20 * MiB))
    for number in range(20):
        s3.put(bucket, f"{prefix}/small-{number:02}", bytes(1000))
    status = main(["bench", f"s3://{bucket}/{prefix}", *credentials, "--seconds", "4", "--json"])
    out, error = capsys.readouterr()
    assert (status, error) == (0, "")
    document = json.loads(out)
    assert document["problem"] is None
    assert document["bytes"] > 0
    large, small = document["searches"]
    assert (large["objects"], small["objects"]) == ("large", "small")
    for search in document["searches"]:
        assert isinstance(eval(search["recommendation"]["config"]), S3ClientConfig)
        for row in search["results"]:
            assert row["gigabytes_per_second"] > 0
    assert all(row["objects_per_second"] > 0 for row in small["results"])


def test_bytes_are_bounded(nginx: Nginx, capsys: pytest.CaptureFixture[str]) -> None:
    nginx.put("bench", "large", bytes(40 * MiB))
    place = ["bench", "s3://bench/large", "--endpoint", nginx.endpoint, "--unsigned"]
    assert main([*place, "--gigabytes", "0.2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert 0 < document["bytes"] < 2e9
    assert "give more --gigabytes" in document["searches"][0]["recommendation"]["reason"]


def test_interrupt_gives_the_results_so_far(nginx: Nginx, tmp_path: Path) -> None:
    nginx.put("bench", "large", bytes(40 * MiB))
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", INTERRUPTING, "bench", "s3://bench/large"),
            *("--endpoint", nginx.endpoint, "--unsigned"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(s3reader.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error == "s3reader bench: interrupted: these are the results so far\n"
    assert "ranged (defaults)" in out
    assert "For large objects: S3ClientConfig(unsigned=True)" in out


# Sends itself what Ctrl-C sends, in the middle of the third trial.
INTERRUPTING = f"""
import os, sys, threading
from s3reader.__main__ import main
from s3reader.bench import command

measure, count = command.measure, 0

def interrupting(*arguments):
    global count
    count += 1
    if count == 3:
        threading.Timer(0.2, os.kill, (os.getpid(), {signal.SIGINT:d})).start()
    return measure(*arguments)

command.measure = interrupting
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("place", "status", "words"),
    [
        ("s3:/bucket", 2, "a place in S3 is s3://bucket"),
        ("s3://s3reader-bench-of-nobody/x", 1, "NoSuchBucket"),
        ("s3://BUCKET/no/such/prefix", 1, "no objects"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(
    bucket: str,
    credentials: list[str],
    capsys: pytest.CaptureFixture[str],
    place: str,
    status: int,
    words: str,
) -> None:
    assert main(["bench", place.replace("BUCKET", bucket), *credentials]) == status
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("s3reader bench: ")
    assert words in error
    assert error.count("\n") == 1


def test_endpoint_that_is_none_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "s3://bucket", "--endpoint", "here"]) == 2
    assert "'here'" in capsys.readouterr().err


def test_missing_credentials_are_said(s3: S3, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint: Any = s3.endpoint
    assert main(["bench", "s3://some-bucket", "--endpoint", endpoint, "--region", "us-east-1"]) == 1
    assert "credentials" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "inf", "nan", "soon"])
def test_impossible_time_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "s3://bucket", "--seconds", seconds])
    assert ended.value.code == 2
    assert "--seconds" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_is_one_line_on_a_terminal_and_nothing_in_a_file() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        bar = Bar(1000, stream)
        bar.show("ranged, parts of 8 MiB, 15 connections")
        bar.clear()
    assert file.getvalue() == ""
    first, second = terminal.getvalue().split("\r")[1:]
    assert first == f"\033[K[{'.' * 24}]   0% ranged, parts of 8 MiB, 15 connections"
    assert second == "\033[K"
