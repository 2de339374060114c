"""The demo as a user runs it, and that it notices what it is there to notice."""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
from transfers import wait_until

import s3reader
from s3reader import demo
from s3reader.__main__ import main
from s3reader.demo.processes import deaf_to_ctrl_c, temporary_folder
from s3reader.demo.ranks import RankFailed, run_ranks

STAGES = {
    "digit headers": "ranged",
    "digits, 2 workers": "ranged",
    "held-out digits": "dcp_optimized",
    "photographs": "sequential",
    "checkpoint": "sequential",
    "checkpoint of 2, on 4": "S3StorageReader",
    "checkpoint of 2, on 1": "S3StorageReader",
}
TIME_LIMIT = 250  # seconds; the demo is to take less than 30 on an idle machine
END_LIMIT = 60  # seconds for it to end when told to, which takes two

pytestmark = pytest.mark.timeout(300)

# Runs the demo with an S3 that keeps another byte than it was given, in one object of digits and
# in one file of a checkpoint.
FLIPPING = """
import itertools
import re
import sys
from s3reader.__main__ import main
from s3reader.demo.storage import Storage

put = Storage.put

def put_flipped(self, key, data):
    flipped = bytearray(data)
    if key == "digits/pixels-2.npy":
        flipped[1000] ^= 1
    elif key.endswith("/__1_0.distcp"):
        # What is longest between two headers of ZIP archives is a tensor's bytes.
        headers = [found.start() for found in re.finditer(b"PK", data)]
        start, end = max(itertools.pairwise(headers), key=lambda pair: pair[1] - pair[0])
        flipped[(start + end) // 2] ^= 1
    put(self, key, bytes(flipped))
    self.source[key] = data

Storage.put = put_flipped
sys.exit(main(["demo"]))
"""


# What a user's shell may have set: settings for another S3, a proxy that is not there.
ODD = {
    "AWS_ACCESS_KEY_ID": "AKIDOFTHEUSER",
    "AWS_CONFIG_FILE": "/nonexistent/config",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9/",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_PROFILE": "of-nobody",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-user",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "MASTER_ADDR": "host.invalid",
    "GLOO_SOCKET_IFNAME": "eth99",
    "RANK": "3",
    "WORLD_SIZE": "8",
}


def environment(**more: str) -> dict[str, str]:
    """For a child that is to import the package that this test has imported."""
    return {**os.environ, "PYTHONPATH": str(Path(s3reader.__file__).parents[1]), **more}


def run(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python in `folder`, with `more` in its environment."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
    )


def check_table(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    assert "Every byte read is the one that was put there" in done.stdout
    assert "bit for bit" in done.stdout
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


def test_every_byte_is_right_and_the_table_tells(tmp_path: Path) -> None:
    check_table(run(tmp_path, "-m", "s3reader", "demo"))


def test_users_environment_does_not_matter(tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", tmp_path / "temporary %41 folder#"
    home.mkdir(mode=0o555)
    temporary.mkdir()
    odd = {**ODD, "HOME": str(home), "TMPDIR": str(temporary)}
    check_table(run(tmp_path, "-m", "s3reader", "demo", **odd))
    assert left_in(temporary) == []


@pytest.mark.parametrize("doing", ["learning digits", "going on from S3 in 4"])
def test_ctrl_c_ends_all_processes_without_a_traceback(doing: str) -> None:
    # With a short name, as the demo uses no other.
    with tempfile.TemporaryDirectory(prefix="s3reader-test-", dir="/tmp") as temporary:
        process = subprocess.Popen(
            [sys.executable, "-m", "s3reader", "demo"],
            cwd=temporary,
            env=environment(TMPDIR=temporary),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        with process:
            assert process.stderr is not None
            told = b""
            while doing.encode() not in told:
                piece = process.stderr.read1(4096)  # type: ignore[attr-defined]
                assert piece, told
                told += piece
            os.killpg(process.pid, signal.SIGINT)
            try:
                out, error = process.communicate(timeout=END_LIMIT)
            except subprocess.TimeoutExpired:
                left = members(process.pid)
                os.killpg(process.pid, signal.SIGKILL)
                pytest.fail("still there:\n" + "\n".join(left))
        assert process.returncode == 130, error
        assert error.endswith(b"\ninterrupted\n")
        assert b"Traceback" not in error
        assert out == b""
        wait_until(lambda: members(process.pid) == [])
        assert left_in(Path(temporary)) == []


@pytest.mark.parametrize("function", ["mkdir", "unlink"])
def test_ctrl_c_while_a_folder_comes_or_goes_leaves_none(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    plain = getattr(os, function)

    def interrupted(*arguments: Any, **named: Any) -> None:
        plain(*arguments, **named)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, function, interrupted)
    with pytest.raises(KeyboardInterrupt), temporary_folder() as folder:
        Path(folder, "file").write_bytes(b"")
    assert list(tmp_path.iterdir()) == []


def left_in(temporary: Path) -> list[Path]:
    """What the demo has left in the folder for temporary files; torch leaves an empty folder."""
    return [path for path in temporary.iterdir() if not path.match("torchinductor_*")]


def members(session: int) -> list[str]:
    """The processes of a session that have not ended: number, parent, state, command."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            _, _, rest = (folder / "stat").read_text().rpartition(")")
            state, parent, _, its_session = rest.split()[:4]
            command = (folder / "cmdline").read_text().replace("\0", " ")
            if int(its_session) == session and state != "Z":
                found.append(f"{folder.name}, of {parent}, {state}: {command}")
    return found


def test_ctrl_c_is_heard_once_the_processes_are_started() -> None:
    """Also where another thread takes the signal, which is not deaf."""
    before = signal.getsignal(signal.SIGINT)
    deaf, done = threading.Event(), []

    def interrupt() -> None:
        deaf.wait()
        signal.raise_signal(signal.SIGINT)

    other = threading.Thread(target=interrupt)
    other.start()

    def start_processes() -> None:
        with deaf_to_ctrl_c():
            deaf.set()
            other.join()
            time.sleep(0)
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        start_processes()
    assert done
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_rank_that_raises_ends_the_group_with_its_words() -> None:
    with pytest.raises(RankFailed, match=r"^ValueError: math domain error$"):
        run_ranks(2, math.sqrt, -1)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_rank_that_dies_ends_the_group() -> None:
    with pytest.raises(RankFailed, match=r"^rank [01] died$"):
        run_ranks(2, die)


def test_ctrl_c_while_a_rank_is_started_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def interrupted(read: Callable[[int], int], pipe: int) -> int:
        started.append(read(pipe))
        if len(started) == 1:
            signal.raise_signal(signal.SIGINT)
        return started[-1]

    # Where the parent learns which process was started.
    monkeypatch.setattr(forkserver, "read_signed", partial(interrupted, forkserver.read_signed))
    with pytest.raises(KeyboardInterrupt) as interrupt:
        run_ranks(2, math.sqrt, 4)
    wait_until(lambda: ended(started[0]))
    # Until now this kept what the parent has of the rank, whose loss would have ended it.
    assert interrupt.traceback


# Starts a rank that finds no folder to meet the others in, where torch waits for minutes and lets
# no other thread run, and goes away.
LEAVING = """
import math, os
from s3reader.demo import ranks

def rank(place, sender):
    def enter(*arguments):
        sender.send(os.getpid())
        return FileStore(*arguments)

    FileStore, ranks.FileStore = ranks.FileStore, enter
    ranks._rank(place, sender, math.sqrt, (4,))

if __name__ == "__main__":
    ranks.prepare()
    receiver, sender = ranks._context.Pipe(duplex=False)
    arguments = (0, 2, "/nonexistent/group"), sender
    ranks._context.Process(target=rank, args=arguments).start()
    print(receiver.recv(), flush=True)
    os._exit(0)
"""


def test_rank_inside_torch_ends_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "leaving.py").write_text(LEAVING)
    # The rank has the output, too, so this waits for its end.
    done = run(tmp_path, "leaving.py")
    assert done.returncode == 0, done.stderr
    assert ended(int(done.stdout))


def ended(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def test_flipped_byte_fails_and_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "-c", FLIPPING)
    assert done.returncode == 1, done.stderr
    assert "digits/pixels-2.npy: byte 1000 is 0x" in done.stderr
    for ranks in (4, 1):
        named = rf"checkpoint of 2, on {ranks}: .*loading '[\w.]+' from __1_0.distcp of .*CRC-32"
        assert re.search(named, done.stderr)
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
