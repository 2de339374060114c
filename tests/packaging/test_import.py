"""``import s3reader`` is cheap, and drags nothing in that a script may not want."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

IMPORT_BUDGET = 0.060
"""Seconds of CPU for ``import s3reader`` beyond a bare interpreter's start."""

MEASURE_IMPORT = """
import time
before = time.process_time()
import s3reader
print(time.process_time() - before)
"""


def python(code: str, elsewhere: Path) -> str:
    """What `code` prints in a new interpreter, away from the source tree."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, cwd=elsewhere, stdout=subprocess.PIPE, text=True)
    return done.stdout


def test_import_leaves_torch_numpy_and_botocore_alone(tmp_path: Path) -> None:
    code = "import sys, s3reader; print(*{'torch', 'numpy', 'botocore', 'boto3'} & {*sys.modules})"
    assert python(code, tmp_path).split() == []


def test_import_stays_within_its_budget(tmp_path: Path) -> None:
    best = min(float(python(MEASURE_IMPORT, tmp_path)) for _ in range(5))
    assert best < IMPORT_BUDGET
