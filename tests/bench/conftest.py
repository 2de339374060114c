"""The benchmark's modules, which are a program beside the package and import each other by name."""

from __future__ import annotations

import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[2] / "bench"

# At the end: a name that tests and benchmark shared would be the tests'.
sys.path.append(str(BENCH))
