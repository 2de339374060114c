"""A mutational fuzzer: ``python tests/fuzzing.py --seconds 600``.

It takes inputs from ``tests/fuzz/corpus``, changes them, and gives them to the targets of
`fuzz_targets`, each of which raises for what must not be: another exception than the documented,
wrong bytes, a write outside a buffer, too long a time. An input that does is written to
``--findings`` and reported; once mended, it belongs in the corpus, which a test replays. Nothing
guides it, so it needs nothing; `guided_fuzzing` goes deeper where its tools are to be had.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from fuzz_corpus import LONGEST, seeds_of, tokens_of
from fuzz_targets import Target, all_targets

NUMBERS = (
    b"0", b"1", b"-1", b"4095", b"4096", b"4097", b"2147483648", b"4294967296",
    b"9223372036854775807", b"9223372036854775808", b"18446744073709551616", b"1e9", b"0x10",
    b" 1", b"+1", b"1,1", b"00000000000000000001", b"\xd9\xa3",
)  # fmt: skip
SLICE = 0.5  # seconds that one target has before the next one's turn


def mutate(
    draw: random.Random, data: bytes, others: Sequence[bytes], tokens: Sequence[bytes]
) -> bytes:
    """``data`` with a few things changed."""
    for _ in range(draw.choice((1, 1, 1, 2, 3, 6))):
        at = draw.randrange(len(data) + 1)
        end = min(len(data), at + draw.choice((1, 1, 2, 8, draw.randrange(len(data) + 1))))
        kind = draw.randrange(8)
        if kind == 0:
            data = data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + draw.choice(tokens) + data[at:]
        elif kind == 2:
            data = data[:at] + data[end:]
        elif kind == 3:
            data = data[:end] + data[at:]
        elif kind == 4:
            data = data[:at] + draw.choice(NUMBERS) + data[end:]
        elif kind == 5:
            data = data[:at] + draw.choice(others)[at:]
        elif kind == 6:
            lines = data.split(b"\n")
            one, two = draw.randrange(len(lines)), draw.randrange(len(lines))
            lines[one], lines[two] = lines[two], lines[one]
            data = b"\n".join(lines)
        else:
            data = _with_another_number(draw, data)
    return data[:LONGEST]


def _with_another_number(draw: random.Random, data: bytes) -> bytes:
    places = [at for at, byte in enumerate(data) if 48 <= byte <= 57]
    if not places:
        return data
    start = end = draw.choice(places)
    while end < len(data) and 48 <= data[end] <= 57:
        end += 1
    return data[:start] + draw.choice(NUMBERS) + data[end:]


def fuzz(targets: Sequence[Target], seconds: float, seed: int, findings: Path) -> int:
    """Run the targets in turn until time is up; returns how many different findings there were."""
    draw = random.Random(seed)
    seeds = {target.name: seeds_of(target.name) for target in targets}
    tokens = {name: tokens_of(name) for name in seeds}
    executions = dict.fromkeys(seeds, 0)
    found: set[str] = set()
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        for target in targets:
            until = min(time.monotonic() + SLICE, began + seconds)
            while time.monotonic() < until:
                kept = seeds[target.name]
                data = mutate(draw, draw.choice(kept), kept, tokens[target.name])
                executions[target.name] += 1
                try:
                    target.run(data)
                except Exception as error:
                    place = traceback.extract_tb(error.__traceback__)[-1]
                    name = f"{target.name}-{type(error).__name__}-{place.name}-{place.lineno}"
                    if name not in found:
                        found.add(name)
                        digest = hashlib.sha256(data).hexdigest()[:12]
                        findings.mkdir(parents=True, exist_ok=True)
                        (findings / f"{name}-{digest}").write_bytes(data)
                        traceback.print_exc()
                        print(f"finding: {name}: {data[:400]!r}", flush=True)
    for name, count in executions.items():
        print(f"{name:10} {count:9} executions")
    print(
        f"{sum(executions.values())} executions in {time.monotonic() - began:.0f} s, "
        f"seed {seed}: {len(found)} findings"
    )
    return len(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", nargs="*", help="names of targets")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    arguments = parser.parse_args()
    with all_targets() as targets:
        chosen = [each for each in targets if not arguments.only or each.name in arguments.only]
        return int(fuzz(chosen, arguments.seconds, arguments.seed, arguments.findings) > 0)


if __name__ == "__main__":
    sys.exit(main())
