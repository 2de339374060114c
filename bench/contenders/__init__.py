"""Every contender, in the order of the report."""

from __future__ import annotations

from contenders.boto import BotoBody, BotoTransfer
from contenders.connector import ConnectorRanged, ConnectorSequential
from contenders.contender import Contender, can
from contenders.handmade import BufferedBytes, Pycurl
from contenders.own import DCPOptimized, Ranged, Sequential

CONTENDERS: tuple[type[Contender], ...] = (
    BufferedBytes,
    Sequential,
    Ranged,
    DCPOptimized,
    ConnectorSequential,
    ConnectorRanged,
    BotoBody,
    BotoTransfer,
    Pycurl,
)

BY_NAME = {contender.name: contender for contender in CONTENDERS}

__all__ = ["BY_NAME", "CONTENDERS", "Contender", "can"]
