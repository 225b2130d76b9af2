"""The rows of `bids store ls`: what each artifact is, of which method, for which runs, how old."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bids_core.artifacts import ArtifactStore

_RUNS_SHOWN: Final = 2
_FINGERPRINT_SHOWN: Final = 7


def list_artifacts(store: ArtifactStore) -> list[dict[str, Any]]:
    """Return one entry per artifact, reading only its record.

    `state` is `whole` if the sizes match the record; `bids store verify` reads the bytes.
    """
    records = {handle.key: store.read_record(handle) for handle in store.ls()}
    runs: dict[str, list[str]] = {}
    for entry in store.ledger().entries():
        for key in entry.artifacts:
            runs.setdefault(key, []).append(entry.name)
    rows = []
    for key, record in records.items():
        handle = store.handle(*key.split("/", 1))
        size = store.size(handle)
        rows.append(
            {
                "artifact": key,
                "stage": handle.stage,
                "method": _method(key, records),
                "runs": sorted(set(runs.get(key, []))),
                "bytes": size,
                "seconds": record.get("seconds"),
                "created": record.get("created"),
                "state": _state(record, size),
            }
        )
    return rows


def shown_rows(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[object]]]:
    """Return the columns and lines of the table."""
    columns = ["artifact", "method", "run", "size", "age"]
    damaged = any(row["state"] != "whole" for row in rows)
    lines: list[list[object]] = []
    for row in rows:
        stage, _, fingerprint = row["artifact"].partition("/")
        runs = row["runs"]
        more = f" +{len(runs) - _RUNS_SHOWN}" if len(runs) > _RUNS_SHOWN else ""
        lines.append(
            [
                f"{stage}/{fingerprint[:_FINGERPRINT_SHOWN]}",
                row["method"],
                ", ".join(runs[:_RUNS_SHOWN]) + more or None,
                size_words(row["bytes"]),
                _age(row["created"]),
                *([row["state"]] if damaged else []),
            ]
        )
    return [*columns, *(["state"] if damaged else [])], lines


def size_words(n_bytes: int) -> str:
    """Return a size in readable form."""
    for unit, length in (("GiB", 2**30), ("MiB", 2**20)):
        if n_bytes >= length:
            return f"{n_bytes / length:.1f} {unit}"
    return f"{n_bytes / 2**10:.0f} KiB"


def _method(key: str, records: dict[str, dict[str, Any]]) -> str | None:
    """Return the method behind an artifact; None if there is none."""
    record = records.get(key, {})
    if key.startswith("selection/"):
        method = record.get("config", {}).get("selection", {}).get("method")
        return None if method is None else str(method)
    stage = key.partition("/")[0]
    if stage == "evaluation" and record.get("inputs", {}).get("finetune", "") is None:
        return "base model"
    if stage not in ("finetune", "evaluation", "losses", "suite"):
        return None
    used = [one for one in record.get("uses", []) if one.startswith(("selection/", "finetune/"))]
    return next((name for name in (_method(one, records) for one in used) if name), None)


def _state(record: dict[str, Any], size: int) -> str:
    if not record:
        return "no record"
    files = record.get("files", {}).values()
    return "whole" if size >= sum(file["bytes"] for file in files) else "files are missing"


def _age(created: str | None) -> str | None:
    if created is None:
        return None
    seconds = (
        datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(created)
    ).total_seconds()
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return "< 1 min"
