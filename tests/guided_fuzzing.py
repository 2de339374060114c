"""The fuzzer that coverage guides: ``python tests/guided_fuzzing.py --seconds 600``.

libFuzzer, through atheris, changes inputs and goes on from those that reach a new place. It sees
places in the Python modules, which atheris traces, and in the compiled ones, which this script
builds for it with clang, AddressSanitizer and UBSan at work in them. Each target of `fuzz_targets`
has a process of its own, beginning with what is kept of earlier runs; ``--keep`` adds the smallest
set of inputs that reaches everything that was found.

A run that finds nothing proves nothing if it could not: so a planted fault, which only inputs with
a certain beginning reach, has to be found first. Where atheris or clang is missing, the script says
so and runs `fuzzing` instead: the same targets and corpus, changed blindly.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fuzz_corpus
from sanitized_build import OPTIONS, Compiler, build_modules, clangs

SANITIZERS = "address,undefined,fuzzer-no-link"
RUNTIME = "asan_with_fuzzer.so"  # atheris brings libFuzzer and AddressSanitizer in one library
SLOWEST = 30  # seconds an input may take before it counts as a hang
LIMIT = 4096  # MB of memory that a target may hold; more at once is refused, as by a small machine
# Of the time, for each target: an answer takes a connection, and is where a stranger's bytes go.
SHARES = {"answers": 8, "chunks": 3, "ranges": 3, "signer": 2}
PLANTED_SECONDS = 60  # most that finding the planted fault may take
PLANTED = """
#include <stdlib.h>
int planted(const unsigned char *data, long length) {
    volatile unsigned char *block = malloc(8);
    int byte = 0;
    if (length > 3 && data[0] == 'p' && data[1] == 'a' && data[2] == 'r' && data[3] == 't')
        byte = block[length + 4];
    free((void *)block);
    return byte;
}
"""


def missing() -> str:
    """What guidance needs and this machine lacks; empty if nothing."""
    if importlib.util.find_spec("atheris") is None:
        return "atheris, which has wheels for CPython 3.11 to 3.13 on Linux (pip install atheris)"
    if not clangs():
        return "clang (Debian: apt-get install clang-19 libclang-rt-19-dev)"
    return ""


def drive(name: str, library: str, program: str, arguments: list[str]) -> None:
    """In a child: give one target to libFuzzer, which starts ``program`` where it needs more such.

    Does not return.
    """
    import atheris

    if name == "planted":
        function = ctypes.CDLL(library).planted
        _fuzz(atheris, lambda data: function(data, len(data)), [program, *arguments])
    with atheris.instrument_imports(include=["s3reader"]):
        from fuzz_targets import all_targets
    with all_targets() as targets:
        (target,) = [each for each in targets if each.name == name]
        _fuzz(atheris, target.run, [program, *arguments])


def _fuzz(atheris: Any, run: Callable[[bytes], object], arguments: list[str]) -> None:
    atheris.Setup(arguments, run)
    atheris.Fuzz()


class Runs:
    """Starts targets under libFuzzer and reads what it says."""

    def __init__(self, compiler: Compiler, library: Path, folder: Path, findings: Path) -> None:
        self._compiler = compiler
        self._library = library
        self._folder = folder
        self._findings = findings

    def start(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        import atheris

        here = str(Path(__file__).parent)
        paths = [str(self._library), here, *filter(None, [os.environ.get("PYTHONPATH")])]
        environ = {
            **os.environ,
            **OPTIONS,
            "ASAN_OPTIONS": f"{OPTIONS['ASAN_OPTIONS']}:max_allocation_size_mb={LIMIT}",
            "LD_PRELOAD": str(Path(atheris.path(), RUNTIME)),
            "PYTHONPATH": os.pathsep.join(paths),
        }
        place = self._folder / "planted.so" if name == "planted" else self._library
        program = self._folder / f"drive-{name}"
        command = [sys.executable, __file__, "--drive", name, str(place), str(program)]
        program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        program.chmod(0o755)
        command += arguments
        return subprocess.run(command, env=environ, stderr=subprocess.PIPE, text=True)

    def find_the_planted(self) -> None:
        self._compiler.compile_library(PLANTED, SANITIZERS, self._folder / "planted.so")
        began = time.monotonic()
        done = self.start(
            "planted", f"-max_total_time={PLANTED_SECONDS}", "-max_len=64", "-len_control=0",
            f"-artifact_prefix={self._folder}/",
        )  # fmt: skip
        if done.returncode == 0 or "heap-buffer-overflow" not in done.stderr:
            sys.exit(f"the fuzzer missed a planted fault:\n{done.stderr[-4000:]}")
        print(f"found a planted heap-buffer-overflow in {time.monotonic() - began:.0f} s")

    def fuzz(self, name: str, seconds: float) -> bool:
        """Whether a target held for so long."""
        known, new = self._folder / name / "known", self._folder / name / "new"
        known.mkdir(parents=True)
        new.mkdir()
        for number, data in enumerate(fuzz_corpus.seeds_of(name)):
            (known / f"{number}").write_bytes(data)
        self._findings.mkdir(parents=True, exist_ok=True)
        words = self._folder / name / "words"
        words.write_text("".join(f'"{quoted(word)}"\n' for word in fuzz_corpus.tokens_of(name)))
        done = self.start(
            name, f"-max_total_time={int(seconds)}", f"-max_len={fuzz_corpus.LONGEST}",
            f"-timeout={SLOWEST}", f"-rss_limit_mb={LIMIT}", f"-malloc_limit_mb={2 * LIMIT}",
            f"-dict={words}", "-print_final_stats=1", f"-artifact_prefix={self._findings}/{name}-",
            str(new), str(known),
        )  # fmt: skip
        executions = re.search(r"number_of_executed_units: *(\d+)", done.stderr)
        places = re.findall(r"cov: (\d+)", done.stderr)
        if done.returncode != 0 or executions is None:
            print(done.stderr[-8000:])
            print(f"finding: {name}: the input is in {self._findings}", flush=True)
            return False
        print(
            f"{name:10} {int(executions[1]):9} executions, {places[-1]:>6} places, "
            f"{len(list(new.iterdir())):5} new inputs",
            flush=True,
        )
        return True

    def keep(self, name: str) -> None:
        """Keep the smallest set of inputs that reaches every place that was reached."""
        least = self._folder / name / "least"
        least.mkdir()
        seen = [str(self._folder / name / each) for each in ("known", "new")]
        done = self.start(name, "-merge=1", f"-timeout={SLOWEST}", str(least), *seen)
        if done.returncode != 0:
            sys.exit(f"cannot merge the inputs of {name}:\n{done.stderr[-4000:]}")
        inputs = [each.read_bytes() for each in least.iterdir()]
        if not inputs:
            sys.exit(f"merging left none of the inputs of {name}:\n{done.stderr[-4000:]}")
        count = fuzz_corpus.keep(name, inputs)
        print(f"{name:10} {count} inputs kept")


def quoted(word: bytes) -> str:
    """A word as libFuzzer's dictionaries write it."""
    return "".join(f"\\x{byte:02x}" for byte in word)


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["--drive"]:
        drive(arguments[1], arguments[2], arguments[3], list(arguments[4:]))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="for all targets together")
    parser.add_argument("--only", nargs="*", default=fuzz_corpus.NAMES, help="names of targets")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--keep", action="store_true", help="add what was found to the corpus")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "lib")
        lack = missing()
        if lack:
            print(f"not guided by coverage, for want of {lack}", flush=True)
            build_modules(library, {**os.environ, "S3READER_WERROR": "0"})
            here = Path(__file__).parent
            command = [sys.executable, str(here / "fuzzing.py"), "--seconds", str(chosen.seconds)]
            command += ["--findings", str(chosen.findings), "--only", *chosen.only]
            environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(library), str(here)])}
            return subprocess.run(command, env=environ).returncode
        compiler = clangs()[0]
        compiler.compile(library, SANITIZERS)
        runs = Runs(compiler, library, Path(folder), chosen.findings)
        runs.find_the_planted()
        shares = {name: SHARES.get(name, 1) for name in chosen.only}
        unit = chosen.seconds / sum(shares.values())
        held = [runs.fuzz(name, unit * share) for name, share in shares.items()]
        if chosen.keep:
            for name in chosen.only:
                runs.keep(name)
        print(f"{held.count(False)} findings")
        return int(not all(held))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
