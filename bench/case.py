"""What a case is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from floors import Floor
from objects import Sizes
from serving import PLAIN
from targets import Target


@dataclass(frozen=True)
class Case:
    """One table of the report.

    Attributes:
        name: for the command line.
        title: for the report.
        work: of `works.WORKS`, what is timed.
        unit: of `scores.UNITS`.
        note: what the floor is, for the report.
        ours: names of our contenders that must meet the targets.
        targets: what they must show.
        server: kind of server.
        floors: C programs; the first is what the others are compared with. Without any, the floor
            is a contender of that name.
        detail: what the work takes besides: bytes of a read, worker processes.
        needs: the object, other than the common ones, that is read.
        points: of a case about growth: only ours run, once at each point.
        checkpoint: the kind that `checkpoints` makes, in a case about those; its contenders are
            in `checkpoint_cases`.
    """

    name: str
    title: str
    work: str
    unit: str
    note: str
    ours: tuple[str, ...]
    targets: tuple[Target, ...] = ()
    server: str = PLAIN
    floors: tuple[Floor, ...] = ()
    detail: int = 0
    needs: str = ""
    points: Callable[[Sizes], list[int]] | None = None
    checkpoint: str = ""

    @property
    def method(self) -> str:
        """Of `Contender`, what a contender needs for it."""
        return {"load_torch": "file", "load_numpy": "file"}.get(self.work, self.work)

    @property
    def alone(self) -> bool:
        """Whether only ours take part: what is measured is none of a peer's business."""
        return self.points is not None or self.work == "signing"
