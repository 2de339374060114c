"""What verifying costs: a whole object read with and without its checksum, in turn in one process.

    python bench/checksums.py [--size MIB] [--rounds N]

nginx on loopback serves the object; the checksums that S3 would tell are given with
``object_info``. Prints, for each algorithm that can be computed here, the CPU seconds a GB of the
whole process, the smallest and the median of the rounds, and the median of the ratio to the read
without in the same round.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import hashlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from objects import BUCKET, LARGE, Sizes, generate
from serving import Nginx

from s3reader import HeadObjectResult, S3Client, S3ClientConfig
from s3reader.checksums import ALGORITHMS, crc_function

MIB = 1024 * 1024
WITHOUT = "none"


def blocks(source: Path) -> Iterator[bytes]:
    """The object, piece by piece."""
    with source.open("rb") as file:
        while block := file.read(8 * MIB):
            yield block


def checksum(name: str, source: Path) -> str | None:
    """What S3 would tell; None where nothing here computes it."""
    algorithm = ALGORITHMS[name]
    if not algorithm.polynomial:
        running = hashlib.new(name)
        for block in blocks(source):
            running.update(block)
        return base64.b64encode(running.digest()).decode()
    function = crc_function(name)
    if function is None:
        return None
    crc = 0
    for block in blocks(source):
        crc = function(block, crc)
    return base64.b64encode(crc.to_bytes(algorithm.size, "big")).decode()


def timed(client: S3Client, info: HeadObjectResult, buffer: bytearray) -> float:
    """CPU seconds a GB of one read."""
    reader = client.get_object(BUCKET, LARGE, object_info=info)
    began = time.process_time()
    count = reader.readinto(buffer)
    took = time.process_time() - began
    told = bool(info.checksums)
    if count != len(buffer) or (reader.integrity.verified == "whole") is not told:
        raise AssertionError(f"{count} bytes, {reader.integrity}")
    return took / count * 1e9


def measure(endpoint: str, source: Path, rounds: int) -> dict[str, list[float]]:
    """CPU seconds a GB by algorithm, one figure a round."""
    buffer = bytearray(source.stat().st_size)
    with S3Client(
        "us-east-1", endpoint=endpoint, s3client_config=S3ClientConfig(unsigned=True)
    ) as client:
        head = client.head_object(BUCKET, LARGE)
        infos = {WITHOUT: head}
        for name in ALGORITHMS:
            text = checksum(name, source)
            if text is not None:
                infos[name] = dataclasses.replace(
                    head, checksums={name: text}, checksum_type="FULL_OBJECT"
                )
        timed(client, head, buffer)  # touches the buffer, opens the connections
        figures: dict[str, list[float]] = {name: [] for name in infos}
        for _ in range(rounds):
            for name, info in infos.items():
                figures[name].append(timed(client, info, buffer))
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="of the object, in MiB (1024)")
    parser.add_argument("--rounds", type=int, default=9, help="how often each is read (9)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, work = Path(folder, "root"), Path(folder, "work")
        work.mkdir()
        Path(folder).chmod(0o755)
        source = generate(root, Sizes(large=options.size * MIB, small_count=0), ())
        with Nginx(root, work) as server:
            figures = measure(server.endpoint, source, options.rounds)
    print(f"{'algorithm':10} {'min':>6} {'median':>7}   CPU s/GB     ratio")
    for name, values in figures.items():
        ratio = statistics.median(
            value / without for value, without in zip(values, figures[WITHOUT], strict=True)
        )
        print(f"{name:10} {min(values):6.3f} {statistics.median(values):7.3f} {ratio:18.2f}")


if __name__ == "__main__":
    main()
