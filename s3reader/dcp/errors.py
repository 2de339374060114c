"""What goes wrong with a checkpoint, said with its name, its file and the item that was read.

Errors of the library keep their class: a missing file is still a ``FileNotFoundError``. Torch
wraps what a rank raises in its ``CheckpointException``, one for all ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from s3reader.errors import ObjectChangedError, ObjectNotFoundError, S3Exception


class CheckpointCorruptError(S3Exception):
    """The bytes of a checkpoint are there, but they are not what was saved."""


def in_checkpoint(error: S3Exception, place: str, advice: str = "") -> S3Exception:
    """``error`` again, with the place in the checkpoint before its message."""
    message = f"loading {place}: {error}"
    if advice:
        message = f"{message} {advice}"
    told = type(error)(
        message,
        bucket=error.bucket,
        key=error.key,
        operation=error.operation,
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        host_id=error.host_id,
        range=error.range,
        attempts=error.attempts,
    )
    told.errno = error.errno
    return told


@contextmanager
def naming(place: str, advice: str = "") -> Iterator[None]:
    """Let errors of the library say which place in a checkpoint was being loaded."""
    try:
        yield
    except S3Exception as error:
        raise in_checkpoint(error, place, advice) from error


def advice_for(error: S3Exception) -> str:
    """What to do about it."""
    if isinstance(error, ObjectNotFoundError):
        return "The checkpoint is not complete: was it deleted, or its upload cut short?"
    if isinstance(error, ObjectChangedError):
        return "Load again, from a checkpoint that nobody writes to."
    if isinstance(error, CheckpointCorruptError):
        return "Load an earlier checkpoint, or upload this one again."
    return ""
