"""Real process groups for tests: the ranks of a gloo group, each a process, and what they do.

A server process imports torch once and forks the ranks, so a group of four starts in a second.
What a rank runs lives here, because a child finds it by its name.
"""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import tempfile
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from alone import ALONE
from torch import nn
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

TIMEOUT = 90.0  # seconds for all ranks together

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "torch.distributed.checkpoint.state_dict",
        "torch.distributed.fsdp",
        "torch.distributed.tensor",
        "torch._dynamo",
    ]
)


def run_ranks(world_size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """``function(*arguments)`` on every rank of a group; the results by rank.

    What a rank raises is its result: an exception, or its text where it does not pickle.
    """
    with tempfile.TemporaryDirectory() as folder:
        pipes = [_context.Pipe(duplex=False) for _ in range(world_size)]
        processes = [
            _context.Process(
                target=_rank,
                args=(rank, world_size, folder, pipes[rank][1], function, arguments),
                daemon=True,
            )
            for rank in range(world_size)
        ]
        for process in processes:
            process.start()
        for _, sender in pipes:
            sender.close()
        try:
            results = []
            for rank, (receiver, _) in enumerate(pipes):
                assert receiver.poll(TIMEOUT), f"rank {rank} hangs"
                results.append(receiver.recv())
            return results
        finally:
            for process in processes:
                process.join(5)
                if process.is_alive():
                    process.kill()
                    process.join()
            for receiver, _ in pipes:
                receiver.close()


def _rank(
    rank: int,
    world_size: int,
    folder: str,
    sender: Any,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=60),
    )
    try:
        result = function(*arguments)
    except BaseException as error:
        result = RuntimeError(f"{error}\n{traceback.format_exc()}")
    sender.send(result)
    sender.close()
    dist.barrier()
    dist.destroy_process_group()


def single_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)`` here, without a process group."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        return function(*arguments)


# What is saved and loaded.


def network() -> nn.Module:
    """The same values on every rank; sizes that do not divide by the numbers of ranks."""
    torch.manual_seed(11)
    return nn.Sequential(nn.Linear(33, 70), nn.ReLU(), nn.LayerNorm(70), nn.Linear(70, 9))


def trained(kind: str, *, fresh: bool = False) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A network and an optimizer with state, replicated or sharded over all ranks."""
    module: nn.Module = network()
    if fresh:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.zero_()
    if kind == "fsdp":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        fully_shard(module, mesh=mesh)
    elif kind == "ddp":
        module = nn.parallel.DistributedDataParallel(module)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3 if fresh else 0.125)
    for number, parameter in enumerate(module.parameters()):
        # A gradient that is the same however the parameter is sharded.
        gradient = torch.full_like(parameter, 0.0 if fresh else number + 1.0)
        parameter.grad = gradient
    optimizer.step()
    return module, optimizer


def _state(kind: str, *, fresh: bool = False) -> tuple[Any, Any, dict[str, Any]]:
    module, optimizer = trained(kind, fresh=fresh)
    model, optim = get_state_dict(module, optimizer)
    position = {"epoch": 0 if fresh else 7, "order": [] if fresh else [3, 1, 2]}
    return module, optimizer, {"model": model, "optim": optim, "loader": position}


def save_training(folder: str, kind: str) -> None:
    """Save network, optimizer and a position in the data as torch's own writer does."""
    dcp.save(_state(kind)[2], checkpoint_id=folder)


def load_training(reader: Callable[[], Any], kind: str) -> list[str]:
    """Load into a network of zeros; names of what then differs from what was saved."""
    module, optimizer, state = _state(kind, fresh=True)
    dcp.load(state, storage_reader=reader())
    set_state_dict(
        module, optimizer, model_state_dict=state["model"], optim_state_dict=state["optim"]
    )
    expected_module, expected_optimizer, expected = _state(kind)
    wrong = [] if state["loader"] == expected["loader"] else ["loader"]
    got = dict(_flat("", get_state_dict(module, optimizer)))
    for name, value in _flat("", get_state_dict(expected_module, expected_optimizer)):
        if not _same(got[name], value):
            wrong.append(name)
    return wrong


def _flat(prefix: str, tree: Any) -> Any:
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from _flat(f"{prefix}.{name}", value)
    elif isinstance(tree, (list, tuple)):
        for number, value in enumerate(tree):
            yield from _flat(f"{prefix}.{number}", value)
    else:
        yield prefix, tree


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        whole = [
            each.full_tensor() if hasattr(each, "full_tensor") else each for each in (one, other)
        ]
        return torch.equal(*whole)
    return bool(one == other)


SHAPES = {"rows": (13, 6), "columns": (5, 17), "whole": (4, 3), "few": (2, 2), "line": (29,)}
PLACEMENTS = {"rows": 0, "columns": 1, "whole": None, "few": 0, "line": 0}


def _sharded(fill: float | None) -> dict[str, Any]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    state: dict[str, Any] = {}
    for number, (name, shape) in enumerate(SHAPES.items()):
        count = int(torch.Size(shape).numel())
        tensor = torch.arange(count, dtype=torch.float32).reshape(shape) + 1000 * number
        if fill is not None:
            tensor.fill_(fill)
        dimension = PLACEMENTS[name]
        placement = Replicate() if dimension is None else Shard(dimension)
        state[name] = distribute_tensor(tensor, mesh, [placement])
    return state


def save_sharded(folder: str) -> None:
    """Save tensors sharded by rows, by columns, replicated, and over more ranks than rows."""
    dcp.save(_sharded(None), checkpoint_id=folder)


def save_sharded_safetensors(folder: str) -> None:
    """The same in files of the safetensors format, each rank its own."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

    writer = HuggingFaceStorageWriter(folder, save_distributed=True)
    dcp.save(_sharded(None), storage_writer=writer)


def load_rows(reader: Callable[[], Any], shape: tuple[int, ...]) -> float:
    """Load a tensor of 0, 1, 2 … sharded by rows; the largest difference."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    expected = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)
    state = {"rows": distribute_tensor(torch.full(shape, -1.0), mesh, [Shard(0)])}
    dcp.load(state, storage_reader=reader())
    return float((state["rows"].full_tensor() - expected).abs().max())


def load_sharded(reader: Callable[[], Any]) -> list[str]:
    """Load them as they are sharded over the ranks that there are now; what differs."""
    state = _sharded(-1.0)
    dcp.load(state, storage_reader=reader())
    return [
        name
        for name, expected in _sharded(None).items()
        if not torch.equal(state[name].full_tensor(), expected.full_tensor())
    ]


def load_sharded_unsharded(reader: Callable[[], Any]) -> list[str]:
    """Load what was saved sharded into plain tensors, on every rank or on none."""
    state = {name: torch.full(shape, -1.0) for name, shape in SHAPES.items()}
    dcp.load(state, storage_reader=reader())
    return [
        name
        for number, (name, shape) in enumerate(SHAPES.items())
        if not torch.equal(
            state[name].flatten(),
            torch.arange(torch.Size(shape).numel(), dtype=torch.float32) + 1000 * number,
        )
    ]


def load_on_first_rank(reader: Callable[[], Any]) -> dict[str, Any]:
    """A plan of everything on rank 0 and of nothing elsewhere."""
    state: dict[str, Any] = {}
    if dist.get_rank() == 0:
        state = {name: torch.full(shape, -1.0) for name, shape in SHAPES.items()}
    dcp.load(state, storage_reader=reader())
    return {name: value.tolist() for name, value in state.items()}


def _replicated(fill: float | None = None, layout: str = "plain") -> dict[str, Any]:
    torch.manual_seed(5)
    state: dict[str, Any] = {}
    for number in range(40):
        tensor = torch.randn(number + 1, 50)
        if fill is not None:
            tensor = torch.full_like(tensor, fill)
            if layout == "transposed":
                tensor = tensor.t().contiguous().t()
            elif layout == "other dtype":
                tensor = tensor.double()
        state[f"t{number}"] = tensor
    state["scalar"] = torch.tensor(2.5 if fill is None else fill)
    state["empty"] = torch.empty(0, 3)
    state["step"] = 12 if fill is None else 0
    return state


def save_replicated(folder: str) -> None:
    """Save tensors of many sizes, a scalar, an empty one and a number."""
    dcp.save(_replicated(), checkpoint_id=folder)


def _differing(state: dict[str, Any]) -> list[str]:
    return [
        name
        for name, value in _replicated().items()
        if not (
            torch.equal(state[name].to(value.dtype), value)
            if isinstance(value, torch.Tensor)
            else state[name] == value
        )
    ]


def load_replicated(reader: Callable[[], Any], layout: str = "plain") -> list[str]:
    """Load all of it on every rank; what differs."""
    state = _replicated(0.0, layout)
    dcp.load(state, storage_reader=reader())
    return _differing(state)


def load_tied(reader: Callable[[], Any]) -> list[str]:
    """Load all of it on every rank, on the first into targets of which two share memory."""
    state = _replicated(0.0)
    shared = torch.zeros(8, 50)
    if dist.get_rank() == 0:
        state["t3"], state["t7"] = shared[:4], shared
    dcp.load(state, storage_reader=reader())
    if dist.get_rank() == 0:
        expected = _replicated()
        both = torch.cat([expected["t3"], expected["t7"][4:]])
        fitting = torch.equal(shared, both) or torch.equal(shared, expected["t7"])
        del state["t3"], state["t7"]
        return _differing(_replicated() | state) + ([] if fitting else ["shared"])
    return _differing(state)


def load_in_pairs(reader: Callable[..., Any]) -> list[str]:
    """Two groups of two ranks that load by themselves."""
    pairs = [dist.new_group([0, 2]), dist.new_group([1, 3])]
    group = pairs[dist.get_rank() % 2]
    state = _replicated(0.0)
    dcp.load(state, storage_reader=reader(cooperative=group), process_group=group)
    return _differing(state)


def load_alone_in_group(reader: Callable[..., Any]) -> list[str]:
    """Plans of three ranks for a group of two."""
    made = reader()
    made.prepare_global_plan([None, None, None])
    return []


def load_on_one_rank(reader: Callable[[], Any]) -> list[str] | None:
    """Rank 0 loads and the others do not."""
    if dist.get_rank():
        return None
    state = _replicated(0.0)
    dcp.load(state, storage_reader=reader(), **ALONE)
    return _differing(state)


def load_with_changed_plan(reader: Callable[[], Any]) -> tuple[list[str], str]:
    """Rank 1 drops what was shared out from its plan; what differs, and what is logged."""
    messages: list[str] = []

    class Changed(DefaultLoadPlanner):
        def finish_plan(self, central_plan: Any) -> Any:
            if dist.get_rank() == 1:
                return dataclasses.replace(central_plan, storage_data=None)
            return central_plan

    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("s3reader").addHandler(handler)
    state = _replicated(0.0)
    dcp.load(state, storage_reader=reader(), planner=Changed())
    return _differing(state), "\n".join(messages)
