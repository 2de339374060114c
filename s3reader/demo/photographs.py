"""Photographs: scikit-learn's samples as JPEG, decoded by PIL from the sequential reader."""

from __future__ import annotations

import io
from importlib.resources import files
from typing import IO, cast

import numpy as np
from PIL import Image

from s3reader import S3ReaderConstructor
from s3reader.demo.checks import Checks, Stage
from s3reader.demo.storage import BUCKET, Storage

NAMES = ("china.jpg", "flower.jpg")


def put_photographs(storage: Storage) -> list[str]:
    """Upload the files that ``sklearn.datasets.load_sample_images`` decodes; returns the keys."""
    folder = files("sklearn.datasets.images")
    keys = [f"photographs/{name}" for name in NAMES]
    for name, key in zip(NAMES, keys, strict=True):
        storage.put(key, (folder / name).read_bytes())
    return keys


def read_photograph(storage: Storage, key: str, checks: Checks, stage: Stage) -> None:
    """Decode a photograph while it is read; compare its pixels, then its bytes."""
    source = storage.source[key]
    with storage.client.get_object(
        BUCKET, key, reader_constructor=S3ReaderConstructor.sequential()
    ) as reader:
        with Image.open(cast(IO[bytes], reader)) as image:
            pixels = np.asarray(image)
        with Image.open(io.BytesIO(source)) as image:
            same = np.array_equal(pixels, np.asarray(image))
        checks.expect(same, f"{key}: PIL decodes other pixels than from the source")
        reader.seek(0)
        checks.compare(key, 0, reader.read(), source)
        stage.count(reader.stats())
