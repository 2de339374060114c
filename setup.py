"""Extension table: every ``ext/**/*.pyx`` becomes the module its path names.

Switches, read from the environment:

``S3READER_WERROR``
    ``1`` turns every warning of Cython and of the C compiler into an error, ``0`` leaves
    them warnings. A git checkout starts with ``1``; an unpacked sdist with ``0``, because a
    compiler that this project has never met must not keep anybody from installing it.
``S3READER_COVERAGE=1``
    compile with gcc's line counters. Cython's own tracing would not do: it takes the GIL in code
    that holds a lock of the I/O thread, and waits there for a thread with the GIL that wants the
    lock.
``S3READER_SANITIZE=address,undefined``
    compile with the named sanitizers and debug information; a name after a minus sign leaves
    out that check of theirs.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

SOURCE_ROOT = Path("ext")

in_checkout = Path(".git").exists()
warnings_are_errors = os.environ.get("S3READER_WERROR", "1" if in_checkout else "0") == "1"
coverage = os.environ.get("S3READER_COVERAGE") == "1"
named = [name for name in os.environ.get("S3READER_SANITIZE", "").split(",") if name]
sanitizers = ",".join(name for name in named if not name.startswith("-"))

compile_args = ["-O3", "-Wall", "-Wextra", "-Wno-unused-parameter"]
link_args = ["-pthread"]
if warnings_are_errors:
    compile_args.append("-Werror")
if coverage:
    # Atomic, for several threads count, and gcov infers some counts from others.
    compile_args += ["-O0", "-g", "--coverage", "-fprofile-update=atomic"]
    link_args.append("--coverage")
if sanitizers:
    compile_args += [f"-fsanitize={sanitizers}", "-fno-omit-frame-pointer", "-g", "-O1"]
    # Cython copies a header's small functions into modules that do not use all of them; clang,
    # unlike gcc, remarks on it.
    compile_args.append("-Wno-unused-function")
    compile_args += [f"-fno-sanitize={name[1:]}" for name in named if name.startswith("-")]
    link_args += [f"-fsanitize={sanitizers}"]

# One directory a variant: what one has built must not pass for another's, nor end in its wheel.
variant = "-".join(["coverage"] * coverage + sanitizers.split(",") * bool(sanitizers))
build_base = Path("build", variant or "plain")

Options.warning_errors = warnings_are_errors

setup(
    ext_modules=cythonize(
        [
            Extension(
                ".".join(source.relative_to(SOURCE_ROOT).with_suffix("").parts),
                [str(source)],
                extra_compile_args=compile_args,
                extra_link_args=link_args,
                libraries=["dl"],
            )
            for source in sorted(SOURCE_ROOT.rglob("*.pyx"))
        ],
        include_path=[str(SOURCE_ROOT)],
        build_dir=str(build_base / "cython"),
        compiler_directives={
            "language_level": "3str",
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "binding": True,
            "embedsignature": False,
        },
    ),
    options={
        "build": {"build_base": str(build_base)},
        "build_ext": {"parallel": os.cpu_count() or 1},  # C compilers at a time
    },
)
