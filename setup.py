"""Extension table: every ``ext/**/*.pyx`` becomes the module its path names.

Switches, read from the environment:

``S3READER_WERROR``
    ``1`` turns every warning of Cython and of the C compiler into an error, ``0`` leaves
    them warnings. A git checkout starts with ``1``; an unpacked sdist with ``0``, because a
    compiler that this project has never met must not keep anybody from installing it.
``S3READER_LINETRACE=1``
    compile with line tracing, for coverage of the Cython code. The generated C then lies
    beside its source, where coverage looks for it.
``S3READER_SANITIZE=address,undefined``
    compile with the named sanitizers and debug information.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

SOURCE_ROOT = Path("ext")

in_checkout = Path(".git").exists()
warnings_are_errors = os.environ.get("S3READER_WERROR", "1" if in_checkout else "0") == "1"
line_trace = os.environ.get("S3READER_LINETRACE") == "1"
sanitizers = os.environ.get("S3READER_SANITIZE", "")

compile_args = ["-O3", "-Wall", "-Wextra", "-Wno-unused-parameter"]
link_args = ["-pthread"]
macros: list[tuple[str, str | None]] = []
if warnings_are_errors:
    compile_args.append("-Werror")
if line_trace:
    macros += [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")]
if sanitizers:
    compile_args += [f"-fsanitize={sanitizers}", "-fno-omit-frame-pointer", "-g", "-O1"]
    link_args += [f"-fsanitize={sanitizers}"]

# One directory a variant: what one has built must not pass for another's, nor end in its wheel.
variant = "-".join(["traced"] * line_trace + sanitizers.split(",") * bool(sanitizers))
build_base = Path("build", variant or "plain")

Options.warning_errors = warnings_are_errors

setup(
    ext_modules=cythonize(
        [
            Extension(
                ".".join(source.relative_to(SOURCE_ROOT).with_suffix("").parts),
                [str(source)],
                define_macros=macros,
                extra_compile_args=compile_args,
                extra_link_args=link_args,
                libraries=["dl"],
            )
            for source in sorted(SOURCE_ROOT.rglob("*.pyx"))
        ],
        include_path=[str(SOURCE_ROOT)],
        build_dir=None if line_trace else str(build_base / "cython"),
        compiler_directives={
            "language_level": "3str",
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "binding": True,
            "embedsignature": False,
            "linetrace": line_trace,
        },
    ),
    options={"build": {"build_base": str(build_base)}},
)
