"""The metrics of test tasks."""

from __future__ import annotations

from typing import Final

JUDGED: Final = frozenset({"generation", "code", "ifeval"})
"""Metrics that need no reference answer."""
