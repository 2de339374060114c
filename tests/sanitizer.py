"""Runs pytest on compiled modules that were built with AddressSanitizer and UBSan.

``python tests/sanitizer.py --build FOLDER [pytest arguments]`` builds into the folder and runs
(``tox -e asan``). A run that reports nothing proves nothing if the sanitizer is not at work;
therefore a small library with one planted fault of each kind has to be caught first, under the same
environment.

Where the compiler's AddressSanitizer does not survive a fork (see `sanitized_build`), tests that
fork in the middle of transfers are left out, and the run says so.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sanitized_build import OPTIONS, Compiler, pick_compiler

SANITIZERS = ["address", "undefined"]

PLANTED = """
#include <stdlib.h>
int past_the_end(int length) {
    volatile char *block = malloc(length);
    int byte = block[length];
    free((void *)block);
    return byte;
}
int overflow(int value) { return value + 1; }
"""
FAULTS = {
    "address": ("past_the_end(64)", "heap-buffer-overflow"),
    "undefined": ("overflow(2147483647)", "signed integer overflow"),
}


def sanitized_environment(compiler: Compiler, library: Path) -> dict[str, str]:
    """The environment in which an ordinary Python can load instrumented modules."""
    return {
        **os.environ,
        **OPTIONS,
        "LD_PRELOAD": ":".join(str(each) for each in compiler.runtimes(SANITIZERS)),
        "PYTHONPATH": str(library),
    }


def prove_that_faults_are_caught(compiler: Compiler, environ: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "planted.so")
        compiler.compile_library(PLANTED, ",".join(SANITIZERS), library)
        for sanitizer in SANITIZERS:
            call, report = FAULTS[sanitizer]
            code = f"import ctypes; ctypes.CDLL({str(library)!r}).{call}"
            done = subprocess.run(
                [sys.executable, "-c", code], env=environ, stderr=subprocess.PIPE, text=True
            )
            if done.returncode == 0 or report not in done.stderr:
                sys.exit(f"the {sanitizer} sanitizer missed a planted fault:\n{done.stderr}")
            print(f"{sanitizer} sanitizer: caught a planted {report}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help="where to build to")
    chosen, arguments = parser.parse_known_args()
    compiler = pick_compiler(SANITIZERS)
    print(f"compiler: {compiler.command}, {compiler.kind} {compiler.version}", flush=True)
    compiler.compile(chosen.build, ",".join(SANITIZERS))
    environ = sanitized_environment(compiler, chosen.build)
    prove_that_faults_are_caught(compiler, environ)
    if not compiler.fork_safe:
        environ["S3READER_TEST_FORKS"] = "0"
        print(
            f"{compiler.kind} {compiler.version}'s AddressSanitizer does not survive a fork while "
            "other threads allocate: tests that do so are left out. clang 17 or gcc 14 runs them.",
            flush=True,
        )
    reports = chosen.build.with_name("reports")
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir()
    # To files: pytest would keep what is printed from showing when the process ends at once, and a
    # child's standard error may be anybody's.
    environ["ASAN_OPTIONS"] += f":log_path={reports}/address"
    # And on with the tests after undefined behaviour, to find all there is in one run.
    environ["UBSAN_OPTIONS"] += f":halt_on_error=0:log_path={reports}/undefined"
    pytest = str(Path(sys.executable).with_name("pytest"))
    status = subprocess.run([pytest, *arguments], env=environ).returncode
    # Refusals of absurd sizes, which tests ask for, are noted there too.
    found = [each.read_text() for each in sorted(reports.iterdir())]
    found = [text for text in found if "ERROR: " in text or "runtime error: " in text]
    print(*found, f"sanitizers: {len(found)} reports", sep="\n", flush=True)
    return status or int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
