"""Processes that form a torch process group on this machine.

One process, started early, imports torch and forks the ranks from itself, so four of them are
there in a second. They find each other through a file and talk over the loopback interface; no
port is chosen here. A rank ends when its parent has gone, however that came about: the kernel sees
to it, since a rank may be inside torch then, which does not always let other threads run.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from multiprocessing import connection, forkserver, resource_tracker
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import FileStore  # type: ignore[attr-defined]
from torch.distributed.checkpoint.api import CheckpointException

from s3reader.demo.processes import deaf_to_ctrl_c, temporary_folder

GROUP_TIMEOUT = timedelta(seconds=180)
STOP_TIMEOUT = 5.0  # seconds for a rank to end by itself, once it has told its result

_context = multiprocessing.get_context("forkserver")
# The second is what torch imports with the first optimizer that is made.
_context.set_forkserver_preload(["s3reader.demo.sharded", "torch._dynamo"])


class RankFailed(Exception):
    """A rank raised; the message is what it said."""


def prepare() -> None:
    """Start the process that ranks are forked from; it imports torch while others work."""
    resource_tracker.ensure_running()  # deaf by itself; thereafter it has made us hear again
    with deaf_to_ctrl_c():
        forkserver.ensure_running()


def run_ranks(world_size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """``function(*arguments)`` on every rank of a gloo group; the results by rank.

    Raises:
        RankFailed: a rank raised or died; the others have been ended.
    """
    processes: list[Any] = []
    results: dict[int, Any] = {}
    with temporary_folder() as folder:
        waiting: dict[Any, int] = {}
        try:
            for rank in range(world_size):
                receiver, sender = _context.Pipe(duplex=False)
                place = (rank, world_size, os.path.join(folder, "group"))
                process = _context.Process(
                    target=_rank, args=(place, sender, function, arguments), daemon=True
                )
                with deaf_to_ctrl_c():  # else it might be started and not be known here
                    process.start()
                    processes.append(process)
                sender.close()
                waiting[receiver] = rank
            while waiting:
                ready: Any = connection.wait(list(waiting))
                for receiver in ready:
                    rank = waiting.pop(receiver)
                    results[rank] = _result(rank, receiver)
            for process in processes:
                process.join(STOP_TIMEOUT)
        finally:
            for process in processes:
                process.kill()
                process.join()
                process.close()
            for receiver in waiting:
                receiver.close()
    return [results[rank] for rank in range(world_size)]


def _result(rank: int, receiver: Any) -> Any:
    with receiver:
        try:
            succeeded, result = receiver.recv()
        except EOFError:
            raise RankFailed(f"rank {rank} died") from None
    if not succeeded:
        raise RankFailed(result)
    return result


def _rank(
    place: tuple[int, int, str],
    sender: Any,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    _end_with_parent()
    rank, world_size, file = place
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # the host's own name may not resolve
    warnings.simplefilter("ignore")  # torch's, about groups of processes without a GPU
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        store=FileStore(file, world_size),
        rank=rank,
        world_size=world_size,
        timeout=GROUP_TIMEOUT,
    )
    try:
        told = True, function(*arguments)
    except (Exception, CheckpointException) as error:  # torch's derives from BaseException
        told = False, "; ".join(dict.fromkeys(_causes(error)))
    sender.send(told)
    sender.close()
    dist.destroy_process_group()


def _causes(error: BaseException) -> Iterator[str]:
    """What went wrong, without what torch wraps around it on each rank."""
    if isinstance(error, CheckpointException):
        for cause, _ in error.failures.values():
            yield from _causes(cause)
    else:
        yield f"{type(error).__name__}: {error}"


def _end_with_parent() -> None:
    """Be killed when the parent has gone.

    It has a pipe to this process, through which nothing comes any more. When its end is closed,
    the kernel sends the signal that was asked for.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    pipe: Any = parent.sentinel
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | fcntl.FASYNC)
    if connection.wait([pipe], timeout=0):  # before it was asked for
        signal.raise_signal(signal.SIGKILL)
