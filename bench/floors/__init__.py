"""Floors: C programs, compiled when the benchmark runs, that receive and do nothing else.

``receive`` is a socket and `recv`, or `SSL_read`; ``curl`` is libcurl. Both bind the libraries
that pycurl brings, which are those that s3reader uses too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from objects import BUCKET, LARGE, WARM, PlannedGet, Sizes

HERE = Path(__file__).parent
PROGRAMS = ("receive", "curl")


class FloorMissing(RuntimeError):
    """No C compiler or no library; says what to install."""


@dataclass(frozen=True)
class Receive:
    """`recv` in C.

    Attributes:
        name: for the report.
        mode: "touched" or "fresh".
        connections: which share the object.
        mark: bytes for which `recv` is woken (``SO_RCVLOWAT``).
    """

    name: str
    mode: str
    connections: int = 1
    mark: int = 1


@dataclass(frozen=True)
class Curl:
    """libcurl in C.

    Attributes:
        name: for the report.
        gets: the requests, from the sizes.
        at_once: on a multi handle; 0 for one after the other on an easy handle.
    """

    name: str
    gets: Callable[[Sizes], Iterable[PlannedGet]]
    at_once: int = 0


Floor = Receive | Curl


class Floors:
    """The compiled programs, and how they are called.

    Args:
        folder: where they and the plans are written.
    """

    def __init__(self, folder: Path) -> None:
        compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise FloorMissing("no C compiler: apt-get install gcc, or set CC to one")
        self._folder = folder
        for name in PROGRAMS:
            source = HERE / f"{name}.c"
            flags = ["-O2", "-Wall", "-Wextra", "-Werror"]
            command = [compiler, *flags, "-o", str(folder / name), str(source), "-ldl"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise FloorMissing(f"{' '.join(command)} failed:\n{done.stderr}")

    def command(
        self, floor: Floor, sizes: Sizes, source: Path, endpoint: str, *, tls: bool
    ) -> list[str]:
        """The program and its arguments."""
        if isinstance(floor, Receive):
            port = endpoint.rpartition(":")[2]
            settings = [port, str(source), floor.mode, str(floor.connections), str(floor.mark)]
            library = [bundled("libssl")] if tls else []
            return [str(self._folder / "receive"), *settings, f"/{BUCKET}/{LARGE}", *library]
        plan = self._folder / f"{floor.name.replace(' ', '-')}.plan"
        with plan.open("w") as file:
            for get in floor.gets(sizes):
                file.write(f"/{BUCKET}/{get.key} {get.start} {get.length} {get.at}\n")
        settings = [endpoint, str(plan), str(source), str(floor.at_once)]
        return [str(self._folder / "curl"), bundled("libcurl"), *settings, f"/{BUCKET}/{WARM}"]


def bundled(name: str) -> str:
    """Path of the library that pycurl's wheel brings, else the system's by name.

    Args:
        name: "libcurl" or "libssl".
    """
    import pycurl

    folder = Path(pycurl.__file__).parent
    for place in (folder / "pycurl.libs", folder.parent / "pycurl.libs"):
        for path in sorted(place.glob(f"{name}-*.so*")):
            return str(path)
    return {"libcurl": "libcurl.so.4", "libssl": "libssl.so.3"}[name]
