"""The cases about loading torch's distributed checkpoints; `checkpoints` measures them."""

from __future__ import annotations

from case import Case
from serving import PLAIN, SHAPED
from targets import (
    Target,
    cost,
    extra_megabytes,
    fetched_of_needed,
    share_of_alone,
    share_of_shape,
    time_of_floor,
    times_peer,
)


def _checkpoint_case(
    name: str,
    title: str,
    kind: str,
    targets: tuple[Target, ...],
    ours: str = "s3reader dcp",
    server: str = PLAIN,
    together: bool = False,
) -> Case:
    return Case(
        f"dcp-{name}",
        title,
        "checkpoint",
        "bytes",
        "floor: torch's own reader of the same files in the page cache",
        (ours,),
        targets,
        server=server,
        detail=int(together),
        checkpoint=kind,
    )


CHECKPOINT_CONTENDERS = {
    # Name in the report: library, name in `checkpoints`.
    "torch, files in the page cache": ("floor", "torch"),
    "s3reader dcp": ("s3reader", "s3reader"),
    "s3reader dcp, unverified": ("s3reader", "s3reader unverified"),
    "s3torchconnector dcp": ("s3torchconnector", "s3torchconnector"),
}
TOGETHER_CONTENDERS = {
    "s3reader dcp": ("s3reader", "s3reader"),
    "s3reader dcp, cooperative": ("s3reader", "s3reader cooperative"),
}


CHECKPOINT_CASES = (
    _checkpoint_case(
        "large",
        "`dcp.load` of 1 GB in tensors of 32 MiB",
        "large",
        (
            time_of_floor(1.0),
            times_peer("s3torchconnector", 4.0),
            cost("CPU s/GB", 0.35),
            extra_megabytes(64),
        ),
    ),
    _checkpoint_case(
        "shaped",
        "`dcp.load` of 1 GB, server shaped like S3",
        "large",
        (share_of_shape(0.95), times_peer("s3torchconnector", 2.5)),
        server=SHAPED,
    ),
    _checkpoint_case(
        "small",
        "`dcp.load` of 20 000 tensors of 1 to 64 KiB",
        "small",
        (times_peer("s3torchconnector", 3.0),),
    ),
    _checkpoint_case(
        "sparse",
        "`dcp.load` of every tenth tensor of 10 GB",
        "sparse",
        (fetched_of_needed(1.15),),
    ),
    _checkpoint_case(
        "together",
        "`dcp.load` on four ranks that each want all of 1 GB",
        "large",
        (
            share_of_alone("requests", 1.1),
            share_of_alone("fetched", 1.1),
        ),
        ours="s3reader dcp, cooperative",
        together=True,
    ),
)
