"""Every contender, in the order of the report."""

from __future__ import annotations

from contenders.arrow import Arrow, ArrowParallel
from contenders.boto import BotoBody, BotoCRT, BotoTransfer
from contenders.connector import ConnectorRanged, ConnectorSequential
from contenders.contender import Contender, Place, can
from contenders.handmade import BufferedBytes, LocalFile, Pycurl
from contenders.obstore import ObstoreAsync, ObstoreSync
from contenders.own import Client, DCPOptimized, Ranged, Sequential
from contenders.s3fs import S3fs

CONTENDERS: tuple[type[Contender], ...] = (
    BufferedBytes,
    LocalFile,
    Client,
    Sequential,
    Ranged,
    DCPOptimized,
    ConnectorSequential,
    ConnectorRanged,
    ObstoreSync,
    ObstoreAsync,
    Arrow,
    ArrowParallel,
    BotoBody,
    BotoTransfer,
    BotoCRT,
    S3fs,
    Pycurl,
)

BY_NAME = {contender.name: contender for contender in CONTENDERS}

__all__ = ["BY_NAME", "CONTENDERS", "Contender", "Place", "can"]
