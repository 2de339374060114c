"""A run that is broken off and goes on from its checkpoint in S3, on other numbers of processes.

Two processes train and save on the way. From the checkpoint, uploaded, the run is taken up by
more processes and by fewer, up to the step that the two went on to. Nothing may be lost: what is
loaded is compared with what was saved, and where it leads with where the run led that was not
broken off: parameters, optimizer, order of the data, random numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from s3reader.demo.checks import Checks
from s3reader.demo.digits import Batch, Shard
from s3reader.demo.processes import temporary_folder
from s3reader.demo.ranks import RankFailed, run_ranks
from s3reader.demo.sharded import Values, load_and_train, make_network, train_and_save
from s3reader.demo.storage import BUCKET, Storage

SAVED_BY = 2
CONTINUED_BY = (4, 1)
SAVE_AT = 40  # steps; in the middle of an epoch
END = 90
PREFIX = f"checkpoints/sharded/step-{SAVE_AT}"


def train_and_restart(storage: Storage, shards: list[Shard], checks: Checks, bar: Any) -> Values:
    """Every run in turn; returns what the uninterrupted one ended with."""
    bar.set_description(f"training in {SAVED_BY} processes")
    with temporary_folder() as folder:
        arguments = storage.client, shards, Path(folder), SAVE_AT, END
        saved: Values
        ended: Values
        saved, ended = run_ranks(SAVED_BY, train_and_save, *arguments)[0]
        storage.put_folder(PREFIX, Path(folder), last=".metadata")
    bar.update()
    for ranks in CONTINUED_BY:
        bar.set_description(f"going on from S3 in {ranks} process{'es' if ranks > 1 else ''}")
        name = f"checkpoint of {SAVED_BY}, on {ranks}"
        with checks.stage(name, "S3StorageReader") as stage:
            try:
                results = run_ranks(
                    ranks, load_and_train, storage.client, shards, f"s3://{BUCKET}/{PREFIX}", END
                )
            except RankFailed as error:
                checks.expect(False, f"{name}: {error}")
                continue
            for _, _, loading in results:
                stage.count(loading)
        loaded, continued, _ = results[0]
        checks.compared += sum(len(v) for v in loaded.values() if isinstance(v, bytes))
        expect_same(f"{name}, as loaded", loaded, saved, checks)
        expect_same(f"{name}, at step {END}", continued, ended, checks)
        bar.update()
    return ended


def expect_same(name: str, found: Values, expected: Values, checks: Checks) -> None:
    """Note each value of a run that is not, bit for bit, that of another run."""
    for key in sorted(found.keys() | expected.keys()):
        same = key in found and key in expected and found[key] == expected[key]
        checks.expect(same, f"{name}: {key} differs")


@torch.no_grad()
def accuracy(values: Values, batch: Batch) -> float:
    """The share of a batch that a run's network classifies right."""
    network = make_network()
    for name, parameter in network.named_parameters():
        found = np.frombuffer(values[f"network.{name}"], np.float32).copy()
        parameter.copy_(torch.from_numpy(found).view_as(parameter))
    return float((network(batch.pixels).argmax(1) == batch.classes).float().mean())
