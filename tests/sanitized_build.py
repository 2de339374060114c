"""Builds of the compiled modules with sanitizers, and what it takes to load them.

The interpreter is not instrumented, so a sanitizer's runtime is preloaded into it. Which compiler:
the one that ``CC`` names, else the newest clang whose AddressSanitizer survives a fork, else gcc.
(A runtime older than clang 17's or gcc 14's leaves its allocator's lock taken in a child that was
forked while another thread allocated, and the child hangs at its next malloc.)
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FORK_SAFE = {"clang": 17, "gcc": 14}
NEWEST_CLANG = 25
GCC_RUNTIMES = {"address": "libasan.so", "undefined": "libubsan.so"}
# What clang's UBSan finds in Cython's own code, and calls with every object: a method called as a
# function of another type, and nothing added to a null pointer. gcc's looks for neither.
CLANG_WITHOUT = ",-function,-pointer-overflow"
CLANG_RUNTIME = "libclang_rt.asan-x86_64.so"  # UBSan's is in it

OPTIONS = {
    # Python keeps much until the process ends; leaks are looked for by `leaks`.
    "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    # Python's own allocator hides a fault within its arenas.
    "PYTHONMALLOC": "malloc",
}


@dataclass(frozen=True)
class Compiler:
    """`command` as one runs it; `kind` is "gcc" or "clang"."""

    command: str
    kind: str
    version: int

    @property
    def fork_safe(self) -> bool:
        """Whether a sanitized process may fork while its other threads allocate."""
        return self.version >= FORK_SAFE[self.kind]

    def runtimes(self, sanitizers: list[str]) -> list[Path]:
        """The libraries to preload; empty where one is not installed."""
        names = [CLANG_RUNTIME]
        if self.kind == "gcc":
            names = [GCC_RUNTIMES[sanitizer] for sanitizer in sanitizers]
        found = []
        for name in names:
            command = [*self.command.split(), f"-print-file-name={name}"]
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            # A compiler that has no such file repeats the bare name.
            runtime = Path(answer.strip())
            if not runtime.is_absolute():
                return []
            found.append(runtime)
        return found

    def compile(self, library: Path, sanitizers: str) -> None:
        """Build the modules, and the package around them, into ``library``."""
        environ = {
            **os.environ,
            "CC": self.command,
            "LDSHARED": f"{self.command} -shared",
            "S3READER_SANITIZE": sanitizers + CLANG_WITHOUT * (self.kind == "clang"),
            "S3READER_WERROR": "0",
        }
        build_modules(library, environ)

    def compile_library(self, source: str, sanitizers: str, library: Path) -> None:
        """Build a small shared library of C source."""
        code = library.with_suffix(".c")
        code.write_text(source)
        flags = [f"-fsanitize={sanitizers}", "-shared", "-fPIC", "-g", "-O0"]
        command = [*self.command.split(), *flags, str(code), "-o", str(library)]
        subprocess.run(command, check=True)


def build_modules(library: Path, environ: Mapping[str, str]) -> None:
    """Build the modules, and the package around them, into ``library``."""
    command = [sys.executable, "setup.py", "--quiet", "build", "--build-lib", str(library)]
    # Objects of another compiler would pass for this one's.
    command += ["--build-temp", str(library.with_name(library.name + "-objects")), "--force"]
    subprocess.run(command, cwd=ROOT, env=environ, check=True, stdout=subprocess.DEVNULL)


def compiler_of(command: str) -> Compiler:
    """What a compiler's command is."""
    said = subprocess.run(
        [*command.split(), "-dM", "-E", "-x", "c", os.devnull],
        check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip
    clang = re.search(r"__clang_major__ (\d+)", said)
    gcc = re.search(r"__GNUC__ (\d+)", said)
    if clang is not None:
        return Compiler(command, "clang", int(clang[1]))
    if gcc is None:
        sys.exit(f"{command} is neither gcc nor clang, whose sanitizers this needs")
    return Compiler(command, "gcc", int(gcc[1]))


def clangs() -> list[Compiler]:
    """The clangs of this machine that can build for AddressSanitizer, the newest first."""
    names = ["clang", *(f"clang-{version}" for version in range(14, NEWEST_CLANG))]
    found = {compiler_of(name) for name in names if shutil.which(name)}
    usable = [each for each in found if each.runtimes(["address"])]
    return sorted(usable, key=lambda each: each.version, reverse=True)


def pick_compiler(sanitizers: list[str]) -> Compiler:
    """The compiler for a run of the tests.

    Raises:
        SystemExit: none has the runtimes; the message says what to install.
    """
    named = os.environ.get("CC")
    if named is None:
        safe = [each for each in clangs() if each.fork_safe]
        if safe:
            return safe[0]
    chosen = compiler_of(named or sysconfig.get_config_var("CC") or "cc")
    if not chosen.runtimes(sanitizers):
        sys.exit(
            f"{chosen.command} has no runtime for {' and '.join(sanitizers)}: install gcc's, or "
            "clang (Debian: apt-get install clang-19 libclang-rt-19-dev)"
        )
    return chosen
