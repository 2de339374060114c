"""The trained network: saved to S3, loaded back through a reader."""

from __future__ import annotations

import io
from typing import IO, cast

import torch
from torch import nn

from s3reader import S3ReaderConstructor
from s3reader.demo.checks import Checks, Stage
from s3reader.demo.storage import BUCKET, Storage

KEY = "checkpoints/digits.pt"


def put_checkpoint(storage: Storage, network: nn.Module) -> None:
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    storage.put(KEY, file.getvalue())


def load_checkpoint(storage: Storage, network: nn.Module, checks: Checks, stage: Stage) -> None:
    """Load the checkpoint; compare each tensor with `network`'s, then the object's bytes."""
    with storage.client.get_object(
        BUCKET, KEY, reader_constructor=S3ReaderConstructor.sequential()
    ) as reader:
        loaded = torch.load(cast(IO[bytes], reader), weights_only=True)
        kept = network.state_dict()
        checks.expect(loaded.keys() == kept.keys(), f"{KEY}: names {sorted(loaded)}")
        for name in loaded.keys() & kept.keys():
            same = torch.equal(loaded[name], kept[name])
            checks.expect(same, f"{KEY}: tensor {name} differs from the one that was saved")
        reader.seek(0)
        checks.compare(KEY, 0, reader.read(), storage.source[KEY])
        stage.count(reader.stats())
    network.load_state_dict(loaded)
