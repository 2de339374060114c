"""One run of one contender that loads a checkpoint: the figures of `checkpoints` as a trial's.

    python checkpoint_trial.py '{"contender": ..., "kind": ..., ...}'
    python checkpoint_trial.py --make BUCKET_FOLDER SCALE KIND...

`checkpoints` imports torch and knows how checkpoints are written, loaded and compared; here its
figures become those of a `Run`. With ranks, times are the slowest's and CPU is everybody's.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class CheckpointSetting:
    """What a run is told.

    Attributes:
        contender: of `checkpoints.CONTENDERS` or `checkpoints.TOGETHER`.
        root, endpoint: what is served, and where.
        kind: of checkpoint.
        scale: share of the full size.
        together: whether as many ranks as `checkpoints` has each want all of it.
        folder: for what the ranks meet in.
    """

    contender: str
    root: str
    endpoint: str
    kind: str
    scale: float
    together: bool
    folder: str

    def as_json(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))


def measure(setting: CheckpointSetting) -> dict[str, Any]:
    """Load once."""
    import checkpoints

    ranks = checkpoints.RANKS if setting.together else 0
    arguments = [
        setting.contender,
        setting.root,
        setting.endpoint,
        setting.kind,
        setting.scale,
    ]
    done = checkpoints.run(arguments, ranks, Path(setting.folder))
    needed = done[0]["bytes"]
    received = sum(one["received"] or 0 for one in done)
    parts = {"fetched": received / needed} if received else {}
    return {
        "wall": max(one["wall"] for one in done),
        # Not told apart there.
        "user": sum(one["cpu"] for one in done),
        "system": 0.0,
        "extra_memory": max(0, *(one["extra"] for one in done), 0),
        "minor_faults": 0,
        "context_switches": 0,
        "parts": parts,
        "work": needed,
        "version": _version(setting.contender),
    }


def _version(contender: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    library = contender.partition(" ")[0]
    if library == "s3reader":
        import s3reader

        return s3reader.__version__
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def make(bucket: Path, scale: float, kinds: list[str]) -> None:
    """Write checkpoints, each in a folder of its kind's name."""
    import checkpoints

    for kind in kinds:
        checkpoints.make(bucket / kind, kind, scale)


if __name__ == "__main__":
    if sys.argv[1] == "--make":
        make(Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
    else:
        print(json.dumps(measure(CheckpointSetting(**json.loads(sys.argv[1])))))
