"""Which process, on which machine, holds something in a store, and whether it is alive."""

from __future__ import annotations

import json
import os
import socket
from functools import lru_cache
from pathlib import Path

import psutil

from bids_core.artifacts.small import parse_json


def holder_content(count: int = 0) -> bytes:
    """Return bytes that identify this process; `count` makes them differ from beat to beat."""
    started = psutil.Process().create_time()
    holder = {"node": node(), "pid": os.getpid(), "started": started, "beat": count}
    return json.dumps(holder).encode()


def lives_here(content: bytes) -> bool | None:
    """Return whether a holder is alive; None if it is on another machine or was read mid-write."""
    try:
        holder = parse_json(content)
        place, pid, started = holder["node"], int(holder["pid"]), float(holder["started"])
    except (ValueError, KeyError, TypeError):
        return None
    if place != node():
        return None
    try:
        process = psutil.Process(pid)
        return bool(process.create_time() == started and process.status() != "zombie")
    except psutil.NoSuchProcess:
        return False


def holder_name(content: bytes) -> str:
    """Return a readable name for a holder."""
    try:
        holder = parse_json(content)
        return f"process {holder['pid']} on {str(holder['node']).split('/')[0]}"
    except (ValueError, KeyError, TypeError):
        return "another process"


@lru_cache(maxsize=1)
def node() -> str:
    """Return the host and its PID namespace: process ids are unique only within one."""
    namespace = Path("/proc/self/ns/pid")
    inside = os.readlink(namespace) if namespace.exists() else ""
    return f"{socket.gethostname()}/{inside}"
