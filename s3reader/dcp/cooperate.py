"""Ranks that want the same bytes read each a share of them and pass them on.

The coordinator sees all plans and shares out what more than one rank wants; each rank finds the
shares in its plan. A rank reads what is its own, all agree that everyone has, and the shared
entries go round in one order that is the same everywhere, so nobody waits for somebody who waits.
Whatever a rank cannot pass on as it was stored, those who want it read themselves.
"""

from __future__ import annotations

import ctypes
import logging
import secrets
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from s3reader.errors import S3Exception

from .items import Entry, tensor_requests
from .landing import span, takes_all
from .load import Kept, Loader

_log = logging.getLogger("s3reader")

SENT_AHEAD = 64 * 1024 * 1024
"""Bytes passed on without waiting for their receivers."""

Place = tuple[str, int, int]
"""File, first byte, one past the last."""


@dataclass(frozen=True)
class Sharing:
    """Who reads what for whom, the same on every rank.

    Attributes:
        name: of this load.
        owners: rank that reads each place, in the order in which they go round.
        wanting: ranks that want it, its owner among them.
    """

    name: str
    owners: dict[Place, int]
    wanting: dict[Place, tuple[int, ...]]


def share_out(plans: Sequence[Iterable[Entry]]) -> Sharing:
    """Give each rank as many adjoining bytes to read of those that several want, or nearly.

    Args:
        plans: what each rank wants, by rank.
    """
    wanted: dict[Place, set[int]] = {}
    for rank, entries in enumerate(plans):
        for entry in entries:
            if not entry.transforms and entry.length > 0:
                wanted.setdefault(place_of(entry), set()).add(rank)
    together: dict[tuple[int, ...], list[Place]] = {}
    for place in sorted(wanted):
        if len(wanted[place]) > 1:
            together.setdefault(tuple(sorted(wanted[place])), []).append(place)
    owners: dict[Place, int] = {}
    for ranks, places in together.items():
        total = sum(stop - start for _, start, stop in places)
        before = 0
        for place in places:
            size = place[2] - place[1]
            owners[place] = ranks[(before + size // 2) * len(ranks) // total]
            before += size
    ordered = _in_turns(owners)
    return Sharing(secrets.token_hex(8), ordered, {p: tuple(sorted(wanted[p])) for p in ordered})


def _in_turns(owners: dict[Place, int]) -> dict[Place, int]:
    """The owners' entries by turns, so that all of them send at the same time."""
    queues: dict[int, deque[Place]] = {}
    for place, owner in owners.items():
        queues.setdefault(owner, deque()).append(place)
    ordered = {}
    while queues:
        for owner in list(queues):
            ordered[queues[owner].popleft()] = owner
            if not queues[owner]:
                del queues[owner]
    return ordered


class Group:
    """The ranks that load together.

    Args:
        group: torch's; None for all ranks.
    """

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        self._group = group
        self.rank = dist.get_rank(group)
        self.size = dist.get_world_size(group)

    def agree(
        self, sharing: Sharing | None, entries: Iterable[Entry], alone: set[Place]
    ) -> Sharing | None:
        """What is shared, if all ranks have the same sharing and want what it says; collective.

        Args:
            sharing: of this rank's plan.
            entries: what this rank wants.
            alone: what it has to read itself; then all do.
        """
        own = {place_of(entry) for entry in entries}
        reason = ""
        if sharing is None:
            reason = "its plan has no shares"
        elif any((self.rank in ranks) != (p in own) for p, ranks in sharing.wanting.items()):
            reason = "its plan is another than the one that was shared out"
        elif "gloo" not in str(dist.get_backend_config(self._group)):
            reason = "its process group has no gloo for CPU tensors"
        said = self.gather((None if sharing is None else sharing.name, reason, alone))
        reasons = [f"rank {rank}: {why}" for rank, (_, why, _) in enumerate(said) if why]
        if sharing is not None and not reasons and len({name for name, _, _ in said}) == 1:
            kept_out = set().union(*(places for _, _, places in said))
            owners = {p: owner for p, owner in sharing.owners.items() if p not in kept_out}
            return Sharing(sharing.name, owners, {p: sharing.wanting[p] for p in owners})
        _log.warning("every rank reads for itself: %s", "; ".join(reasons) or "plans differ")
        return None

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, by rank; collective."""
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self._group)
        return values

    def settle(
        self, failure: BaseException | None, declined: set[Place], versions: Mapping[str, str]
    ) -> tuple[set[Place], set[str]]:
        """Go on only if all ranks can. Collective.

        Args:
            failure: of this rank.
            declined: what it cannot pass on.
            versions: ETags of the files that it has read.

        Returns:
            What any rank declines to pass on, and files of which ranks read different versions.

        Raises:
            S3Exception: another rank failed. This rank's own failure is raised as it is.
        """
        said = self.gather((str(failure) if failure is not None else None, declined, versions))
        if failure is not None:
            raise failure
        failures = [f"rank {rank}: {text}" for rank, (text, _, _) in enumerate(said) if text]
        if failures:
            raise S3Exception(f"stopped because others failed: {'; '.join(failures)}")
        seen: dict[str, set[str]] = {}
        for _, _, theirs in said:
            for file, etag in theirs.items():
                seen.setdefault(file, set()).add(etag)
        changed = {file for file, etags in seen.items() if len(etags) > 1}
        return set().union(*(places for _, places, _ in said)), changed

    def global_rank(self, rank: int) -> int:
        """As torch's point-to-point calls count."""
        return rank if self._group is None else dist.get_global_rank(self._group, rank)

    def exchange(
        self, sharing: Sharing, declined: set[Place], loader: Loader, entries: Sequence[Entry]
    ) -> None:
        """Pass on what was read for others and take what others read, all in the same order."""
        by_place = {place_of(entry): entry for entry in entries}
        sending: deque[_Sent] = deque()
        failure: BaseException | None = None
        for place, owner in sharing.owners.items():
            if self.rank not in sharing.wanting[place] or place in declined:
                continue
            entry = by_place[place]
            if owner == self.rank:
                sending.append(self._send(entry, loader.kept.pop(entry), sharing.wanting[place]))
                while sum(sent.data.nbytes for sent in sending) > SENT_AHEAD:
                    failure = sending.popleft().finish(loader, failure)
            else:
                failure = self._take(entry, owner, loader, failure)
        while sending:
            failure = sending.popleft().finish(loader, failure)
        if failure is not None:
            raise failure

    def _send(self, entry: Entry, kept: Kept, ranks: tuple[int, ...]) -> _Sent:
        if kept.targets:
            whole = whole_target(entry, kept)
            assert whole is not None
            data = _as_bytes(whole.cpu().contiguous().resolve_conj().resolve_neg())
        else:
            data = torch.frombuffer(bytearray(kept.data), dtype=torch.uint8)
        others = [rank for rank in ranks if rank != self.rank and data.nbytes]
        works = [dist.isend(data, self.global_rank(rank), group=self._group) for rank in others]
        return _Sent(entry, kept, data, works)

    def _take(
        self, entry: Entry, owner: int, loader: Loader, failure: BaseException | None
    ) -> BaseException | None:
        """Receive an entry. After a failure too: the one who sends it must not wait for ever."""
        targets: list[torch.Tensor] = []
        requests = tensor_requests(entry)
        if failure is None and requests:
            try:
                targets = loader.resolve(entry)
            except BaseException as error:
                failure = error
        if not requests or entry.stored is None:
            data = torch.empty(entry.length, dtype=torch.uint8)
            self._receive(data, owner)
            read = ctypes.string_at(data.data_ptr(), data.nbytes)
            return _attempt(failure, loader.load_bytes, entry, read)
        dtype, sizes = entry.stored
        fitting = (
            target
            for target, request in zip(targets, requests, strict=False)
            if takes_all(target, dtype, sizes, request)
        )
        stored = next(fitting, None)
        if stored is None:
            stored = torch.empty(sizes, dtype=dtype)
        self._receive(_as_bytes(stored), owner)

        def fill() -> None:
            loader.fill(entry, targets, stored, commit=True)

        return _attempt(failure, fill)

    def _receive(self, data: torch.Tensor, owner: int) -> None:
        if data.nbytes:
            dist.recv(data, self.global_rank(owner), group=self._group)


def place_of(entry: Entry) -> Place:
    """Which stored bytes an entry is."""
    return entry.file, entry.start, entry.stop


def in_shared_memory(loader: Loader, entries: Iterable[Entry]) -> set[Place]:
    """What goes to memory that something else goes to as well, such as tied weights.

    It is right only when it is filled in the plan's order, and cannot wait there to be passed on.
    """
    found: set[Place] = set()
    spans = sorted(
        (*span(target), place_of(entry)) for entry in entries for target in loader.resolve(entry)
    )
    furthest, its_place = 0, ("", 0, 0)
    for start, stop, place in spans:
        if start < min(stop, furthest):
            found |= {place, its_place}
        if stop > furthest:
            furthest, its_place = stop, place
    return found


def whole_target(entry: Entry, kept: Kept) -> torch.Tensor | None:
    """A target that has all of the stored tensor, in its dtype."""
    if entry.stored is None:
        return None
    dtype, sizes = entry.stored
    for target, request in zip(kept.targets, tensor_requests(entry), strict=True):
        whole = tuple(request.lengths) == sizes
        if whole and target.dtype == dtype and type(target) is torch.Tensor:
            return target
    return None


def declined_by(loader: Loader) -> set[Place]:
    """What was read for others and cannot be passed on as it was stored."""
    return {
        place_of(entry)
        for entry, kept in loader.kept.items()
        if (whole_target(entry, kept) is None if kept.targets else not kept.data)
    }


@dataclass
class _Sent:
    """An entry on its way to those who want it. Committed only when it is there: the planner may
    change a tensor that it is told about."""

    entry: Entry
    kept: Kept
    data: torch.Tensor
    works: list[Any]

    def finish(self, loader: Loader, failure: BaseException | None) -> BaseException | None:
        for work in self.works:
            work.wait()
        return _attempt(failure, loader.commit, self.entry, self.kept)


def _as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1).view(torch.uint8)


def _attempt(failure: BaseException | None, call: Any, *arguments: Any) -> BaseException | None:
    """The first failure: of before, or of this call."""
    if failure is not None:
        return failure
    try:
        call(*arguments)
    except BaseException as error:
        return error
    return None
