"""Servers, floors and trials for real, on a few megabytes; what is said where one is missing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

pytest.importorskip("numpy", reason="the benchmark needs it")

import environments
import objects
import serving
from backing import back_free_memory
from case import Case
from cases import BY_NAME, FRESH, SSL_TOUCHED, TOUCHED
from contenders import CONTENDERS
from floors import Curl, Floor, FloorMissing, Floors
from measure import Bench, roster, run_round
from objects import MIB, Sizes, generate, random_gets, small_gets
from run import main
from scores import Score
from servers.nginx import nginx_binary
from serving import PLAIN, SHAPED, TLS, Nginx, ServerMissing, measure_shape
from trial import Memory

SIZES = Sizes(
    large=12 * MIB,
    saved=8 * MIB,
    small_count=20,
    read_count=20,
    range_count=50,
    largest=8 * MIB,
    most_requests=100,
)

FLOORS: dict[str, Floor] = {
    "touched": TOUCHED,
    "fresh": FRESH,
    "easy": Curl("easy", small_gets),
    "multi": Curl("multi", lambda sizes: random_gets(sizes, 4096, 50), at_once=4),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    nginx_binary(os.environ)
    folder = tmp_path_factory.mktemp("bench")
    root, work = folder / "root", folder / "work"
    root.mkdir()
    work.mkdir()
    with Nginx(root, work) as plain, Nginx(root, work, TLS) as tls:
        source = generate(root, SIZES, ())
        yield Bench({PLAIN: plain, TLS: tls}, Floors(work), root, source, SIZES)


def run_once(bench: Bench, case: Case, peer: str) -> dict[str, Score]:
    """Scores by name."""
    chosen = [contender for contender in CONTENDERS if contender.peer == peer]
    scores = [score for score in roster(bench, case, chosen) if score.peer == peer]
    run_round(bench, case, scores, 0)
    return {score.name: score for score in scores}


def test_trial_counts_what_the_server_saw(bench: Bench) -> None:
    score = run_once(bench, BY_NAME["small-objects"], "s3reader")["s3reader sequential"]
    assert score.missing is None
    (run,) = score.runs
    assert run.requests == SIZES.small_count
    assert run.connections >= 1
    assert run.wall > 0
    assert run.cpu > 0


def test_trial_over_tls_trusts_the_authority_made_here(bench: Bench) -> None:
    scores = run_once(bench, BY_NAME["readinto-tls"], "s3reader")
    assert [score.missing for score in scores.values()] == [None] * 3


def test_wrong_bytes_are_noticed(bench: Bench, tmp_path: Path) -> None:
    wrong = tmp_path / "source"
    data = bytearray(bench.source.read_bytes())
    data[-1] ^= 1
    wrong.write_bytes(data)
    mistaken = Bench(**{**vars(bench), "source": wrong})
    for peer in ("s3reader", "floor"):
        for score in run_once(mistaken, BY_NAME["readinto"], peer).values():
            assert score.failed
            assert "differ from the source" in score.missing


@pytest.mark.parametrize("name", FLOORS)
def test_floor_reads_every_byte(bench: Bench, name: str) -> None:
    floor, server = FLOORS[name], bench.servers[PLAIN]
    command = bench.floors.command(floor, SIZES, bench.source, server.endpoint, tls=False)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == 0


def test_floor_reads_through_openssl(bench: Bench) -> None:
    server = bench.servers[TLS]
    command = bench.floors.command(SSL_TOUCHED, SIZES, bench.source, server.endpoint, tls=True)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == 0


def test_shaped_server_delays_and_paces(bench: Bench, tmp_path: Path) -> None:
    if not any(Path(folder, "ngx_http_lua_module.so").exists() for folder in serving.MODULES):
        if os.environ.get("CI") == "true":
            pytest.fail(f"nginx's Lua module is missing: {serving.INSTALL}", pytrace=False)
        pytest.skip(serving.INSTALL)
    with Nginx(bench.root, tmp_path, SHAPED) as server:
        shape = measure_shape(server, SIZES.large)
    assert shape.rate < 1.15 * serving.SHAPED_RATE
    assert shape.first_byte > serving.SHAPED_DELAY[0]
    assert shape.small > shape.first_byte


def test_missing_nginx_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serving, "find_nginx", lambda: None)
    assert main(["--quick", "--case", "readinto", "--output", str(tmp_path)]) == 2
    assert "apt-get install nginx libnginx-mod-http-lua" in capsys.readouterr().err


@pytest.mark.parametrize("less", ["--quick", "--peer=boto3", "--rounds=4"])
def test_documents_are_not_written_from_less(less: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--write-docs", less])
    assert "--write-docs is for all peers, full sizes and 5 rounds" in capsys.readouterr().err


def test_small_disk_says_how_much_it_takes_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(objects.DISK, objects.QUICK, 1 << 60)
    assert main(["--quick", "--output", str(tmp_path / "none")]) == 2
    assert "all cases take 1152921505 GB of disk" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_missing_lua_module_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nginx_binary(os.environ)
    monkeypatch.setattr(serving, "MODULES", (str(tmp_path),))
    with pytest.raises(ServerMissing, match="libnginx-mod-http-lua"):
        Nginx(tmp_path, tmp_path, SHAPED)


def test_missing_compiler_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(FloorMissing, match="apt-get install gcc"):
        Floors(tmp_path)


def test_interpreter_of_a_peer_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3READER_BENCH_S3FS", "/somewhere/python")
    environments.interpreter.cache_clear()
    try:
        assert environments.interpreter("s3fs") == "/somewhere/python"
    finally:
        environments.interpreter.cache_clear()


def test_settings_of_a_trial_survive_the_command_line(bench: Bench) -> None:
    from trial import Setting

    setting = Setting("readinto", "s3reader ranged", bench.place(BY_NAME["readinto"]), SIZES, "x")
    assert asdict(Setting.from_json(setting.as_json())) == asdict(setting)


def test_free_memory_is_had_back_before_what_takes_new_memory() -> None:
    assert back_free_memory(BY_NAME["random-4k"], SIZES) == 0
    assert back_free_memory(BY_NAME["torch-load"], SIZES) == 3 * SIZES.saved
    memory = Memory()
    assert back_free_memory(BY_NAME["read"], SIZES) == 3 * SIZES.large
    assert memory.peak() > SIZES.large  # the kernel counts some of it later
