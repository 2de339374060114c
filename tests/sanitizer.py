"""Runs pytest on compiled modules that were built with AddressSanitizer and UBSan.

``python tests/sanitizer.py [pytest arguments]``, with `S3READER_SANITIZE` in the environment as at
the build (``tox -e asan`` does both). The interpreter itself is not instrumented, so the
sanitizers' runtimes are preloaded. A run that reports nothing proves nothing if the sanitizer is
not at work; therefore a small library with one planted fault of each kind has to be caught first,
under the same environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

RUNTIMES = {"address": "libasan.so", "undefined": "libubsan.so"}

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


def compiler() -> list[str]:
    return (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()


def sanitized_environment(sanitizers: list[str]) -> dict[str, str]:
    """The environment in which an ordinary Python can load instrumented modules.

    Raises:
        SystemExit: the compiler brings no such runtime; the message says what to install.
    """
    preload = []
    for sanitizer in sanitizers:
        name = RUNTIMES[sanitizer]
        command = [*compiler(), f"-print-file-name={name}"]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        # A compiler that has no such file repeats the bare name.
        runtime = Path(found.strip())
        if not runtime.is_absolute():
            sys.exit(f"{compiler()[0]} has no {name}: install gcc and its sanitizer runtimes")
        preload.append(str(runtime))
    return {
        **os.environ,
        "LD_PRELOAD": ":".join(preload),
        # Python keeps much until the process ends; leaks are other tests' business.
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        # Python's own allocator hides a fault within its arenas.
        "PYTHONMALLOC": "malloc",
    }


def prove_that_faults_are_caught(sanitizers: list[str], environ: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "planted.c"), Path(folder, "planted.so")
        source.write_text(PLANTED)
        flags = [f"-fsanitize={','.join(sanitizers)}", "-shared", "-fPIC", "-g", "-O0"]
        subprocess.run([*compiler(), *flags, str(source), "-o", str(library)], check=True)
        for sanitizer in sanitizers:
            call, report = FAULTS[sanitizer]
            code = f"import ctypes; ctypes.CDLL({str(library)!r}).{call}"
            done = subprocess.run(
                [sys.executable, "-c", code], env=environ, stderr=subprocess.PIPE, text=True
            )
            if done.returncode == 0 or report not in done.stderr:
                sys.exit(f"the {sanitizer} sanitizer missed a planted fault:\n{done.stderr}")
            print(f"{sanitizer} sanitizer: caught a planted {report}", flush=True)


def main(arguments: list[str]) -> int:
    sanitizers = os.environ["S3READER_SANITIZE"].split(",")
    environ = sanitized_environment(sanitizers)
    prove_that_faults_are_caught(sanitizers, environ)
    pytest = str(Path(sys.executable).with_name("pytest"))
    return subprocess.run([pytest, *arguments], env=environ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
