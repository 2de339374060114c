"""Extension table: every ``ext/**/*.pyx`` becomes the module its path names.

Switches, read from the environment:

``S3READER_LINETRACE=1``
    compile with line tracing, for coverage of the Cython code.
``S3READER_SANITIZE=address,undefined``
    compile with the named sanitizers and debug information.
``S3READER_WERROR=0``
    keep C compiler warnings from failing the build (an unknown compiler's new warnings must
    not keep users from installing; the project's own builds leave it on).
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

SOURCE_ROOT = Path("ext")

line_trace = os.environ.get("S3READER_LINETRACE") == "1"
sanitizers = os.environ.get("S3READER_SANITIZE", "")

compile_args = ["-O3", "-Wall", "-Wextra", "-Wno-unused-parameter"]
link_args = []
macros = []
if os.environ.get("S3READER_WERROR", "1") == "1":
    compile_args.append("-Werror")
if line_trace:
    macros += [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")]
if sanitizers:
    compile_args += [f"-fsanitize={sanitizers}", "-fno-omit-frame-pointer", "-g", "-O1"]
    link_args += [f"-fsanitize={sanitizers}"]

Options.warning_errors = True

setup(
    ext_modules=cythonize(
        [
            Extension(
                ".".join(source.relative_to(SOURCE_ROOT).with_suffix("").parts),
                [str(source)],
                define_macros=macros,
                extra_compile_args=compile_args,
                extra_link_args=[*link_args, "-pthread"],
                libraries=["dl"],
            )
            for source in sorted(SOURCE_ROOT.rglob("*.pyx"))
        ],
        include_path=[str(SOURCE_ROOT)],
        build_dir="build/cython",
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
)
