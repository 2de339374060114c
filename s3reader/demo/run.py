"""The demo from beginning to end."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from tqdm import tqdm

from s3reader import S3Exception
from s3reader.demo.checkpoints import load_checkpoint, put_checkpoint
from s3reader.demo.checks import Checks
from s3reader.demo.digits import (
    EPOCHS,
    HELD_OUT_SHARDS,
    Batch,
    Batches,
    Classifier,
    loader,
    open_shard,
    put_digits,
    read_held_out,
)
from s3reader.demo.photographs import put_photographs, read_photograph
from s3reader.demo.processes import (
    deaf_to_ctrl_c,
    leave_room_for_sockets,
    leave_the_users_settings_alone,
)
from s3reader.demo.ranks import RankFailed, prepare
from s3reader.demo.report import table
from s3reader.demo.restarts import CONTINUED_BY, END, SAVE_AT, SAVED_BY, accuracy, train_and_restart
from s3reader.demo.storage import Storage

ENOUGH = 0.9  # of the held-out digits classified right


def run() -> int:
    """Run the demo; returns 0, or 1 if a byte differed, the network did not learn, or S3 failed."""
    leave_the_users_settings_alone()
    leave_room_for_sockets()
    prepare()
    began = time.perf_counter()
    checks = Checks()
    try:
        with (
            tqdm(desc="starting an S3", leave=False, dynamic_ncols=True) as bar,
            Storage() as storage,
        ):
            share = read_everything(storage, checks, bar)
    except (S3Exception, RankFailed, EOFError) as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    checks.expect(share > ENOUGH, f"accuracy {share:.1%}, {ENOUGH:.0%} expected")
    print(table(checks.stages))
    seconds = time.perf_counter() - began
    print(f"\n{share:.1%} of the held-out digits classified right; {seconds:.1f} s in all.")
    if checks.differences:
        print(f"FAILED: {len(checks.differences)} differences", file=sys.stderr)
        for difference in checks.differences[:20]:
            print(f"  {difference}", file=sys.stderr)
        return 1
    ranks = " or ".join(map(str, CONTINUED_BY))
    print(
        f"Saved by {SAVED_BY} processes in step {SAVE_AT}, continued from S3 by {ranks}, training"
        f" is in\nstep {END} where it was without the break, bit for bit."
    )
    print(f"Every byte read is the one that was put there: {checks.compared:,} compared.")
    return 0


def read_everything(storage: Storage, checks: Checks, bar: Any) -> float:
    """Every stage in turn; returns the accuracy of the network that came back from S3."""
    bar.set_description("putting digits and photographs into S3")
    keys = put_digits(storage)
    photographs = put_photographs(storage)
    torch.set_num_threads(1)  # so small a network waits for threads longer than it computes
    classifier = Classifier()

    with checks.stage("digit headers", "ranged") as stage:
        shards = []
        for pair in keys:
            shard, headers = open_shard(storage, pair, stage)
            shards.append(shard)
            for key, header in zip(pair, headers, strict=True):
                checks.compare(key, 0, header, storage.source[key])

    batches = Batches(storage.client, shards[:-HELD_OUT_SHARDS])
    bar.reset(EPOCHS * len(batches) + HELD_OUT_SHARDS + len(photographs) + 2 + len(CONTINUED_BY))
    with checks.stage("digits, 2 workers", "ranged") as stage:
        latest: dict[int, Batch] = {}
        batch_loader = loader(batches)
        for epoch in range(EPOCHS):
            bar.set_description(f"learning digits, epoch {epoch + 1} of {EPOCHS}")
            with deaf_to_ctrl_c():  # the first epoch starts the workers
                epoch_batches = iter(batch_loader)
            for batch in epoch_batches:
                compare_batch(batch, storage, checks)
                classifier.learn(batch)
                latest[batch.worker] = batch
                bar.update()
        for batch in latest.values():
            for stats in batch.stats:
                stage.count(stats)

    held_out = []
    with checks.stage("held-out digits", "dcp_optimized") as stage:
        bar.set_description("reading the held-out digits")
        for shard in shards[-HELD_OUT_SHARDS:]:
            held_out.append(read_held_out(storage.client, shard, stage))
            compare_batch(held_out[-1], storage, checks)
            bar.update()

    with checks.stage("photographs", "sequential") as stage:
        for key in photographs:
            bar.set_description(f"decoding {key}")
            read_photograph(storage, key, checks, stage)
            bar.update()

    with checks.stage("checkpoint", "sequential") as stage:
        bar.set_description("saving and loading the checkpoint")
        put_checkpoint(storage, classifier.network)
        load_checkpoint(storage, classifier.network, checks, stage)
        bar.update()

    ended = train_and_restart(storage, shards[:-HELD_OUT_SHARDS], checks, bar)
    for batch in held_out:
        share = accuracy(ended, batch)
        checks.expect(share > ENOUGH, f"accuracy {share:.1%} on several processes")
    return sum(map(classifier.accuracy, held_out)) / len(held_out)


def compare_batch(batch: Batch, storage: Storage, checks: Checks) -> None:
    for file, offset, tensor in batch.parts():
        checks.compare(file.key, offset, tensor.numpy(), storage.source[file.key])
