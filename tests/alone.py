"""Saving and loading by this process alone, said as torch of any version takes it."""

from __future__ import annotations

import inspect
from typing import Any

import torch.distributed.checkpoint as dcp

_SAID = "no_dist" in inspect.signature(dcp.load).parameters

ALONE: dict[str, Any] = {"no_dist": True} if _SAID else {}
"""Options of ``dcp.save`` and ``dcp.load``. Torch 2.6 sees by itself that there is no group."""
