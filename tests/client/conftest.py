"""The client's tests share these fixtures with those of its security and its life."""

from __future__ import annotations

from clients import client_for, hides_secrets

__all__ = ["client_for", "hides_secrets"]
