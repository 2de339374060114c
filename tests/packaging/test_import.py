"""``import s3reader`` is cheap, and drags nothing in that a script may not want."""

from __future__ import annotations

import subprocess
import sys

IMPORT_BUDGET = 0.060
"""Seconds of CPU for ``import s3reader`` beyond a bare interpreter's start."""

MEASURE_IMPORT = """
import time
before = time.process_time()
import s3reader
print(time.process_time() - before)
"""


def python(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def test_import_leaves_torch_numpy_and_botocore_alone() -> None:
    code = "import sys, s3reader; print(*{'torch', 'numpy', 'botocore', 'boto3'} & {*sys.modules})"
    assert python(code).split() == []


def test_import_stays_within_its_budget() -> None:
    best = min(float(python(MEASURE_IMPORT)) for _ in range(5))
    assert best < IMPORT_BUDGET
