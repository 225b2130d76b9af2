"""What a run shows in the Prefect UI: progress, summary, tables, figures, a link to the report.

Only with a permanent server: nobody looks at the temporary one of a local run. A server that does
not answer costs the artifact, never the run.
"""

from __future__ import annotations

import base64
import json
import logging
import math
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectHTTPStatusError

from bids_core.formatting import as_cells, as_code
from bids_core.progress import duration
from bids_core.report.pictures import pictures
from tasks.evaluation import read_scores
from tasks.prepare import load_prepared
from tasks.report_inputs import collect, stage_timings
from tasks.runtime.progress import current, describe, reporting
from tasks.runtime.run_logs import on_server
from tasks.samples import run_verdict
from tasks.selection import read_selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from bids_core.config import RunConfig
    from bids_core.progress import Progress
    from tasks.gradients import Shard
    from tasks.run_result import RunResult
    from tasks.runtime.progress import Reporter

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_UPDATES: Final = 5.0
_PICKS_SHOWN: Final = 50
_TEXT_SHOWN: Final = 120


class GradientProgress:
    """Examples done, over all shards of all checkpoints, as a progress artifact.

    Args:
        config: of the run.
        total: examples, counted once per checkpoint.
    """

    def __init__(self, config: RunConfig, total: int) -> None:
        self._key = _key(config, "gradients")
        self._total = total
        self._cached = self._computed = self._within = 0
        self._seen: set[Shard] = set()
        self._started = time.monotonic()
        self._updated = -math.inf
        self._artifact: UUID | None = None

    def cached(self, shard: Shard) -> None:
        """Count a shard that was in the store."""
        self._cached += self._new_rows(shard)
        self._show()

    def computed(self, shard: Shard) -> None:
        """Count a shard that was computed."""
        self._computed += self._new_rows(shard)
        self._within = 0
        self._show()

    @contextmanager
    def shard(self, shard: Shard) -> Iterator[None]:
        """Follow a shard that this process computes or finds."""
        watch = _Watch(current(), self._advance)
        with reporting(watch):
            yield
        (self.cached if watch.was_cached else self.computed)(shard)
        if self._cached + self._computed == self._total:
            self.end()

    def end(self) -> None:
        """Show the last state."""
        self._show(now=True)

    def words(self) -> str:
        """Return the state in words; the rate counts only computed examples."""
        done = self._computed + self._within
        seconds = time.monotonic() - self._started
        text = describe(done, self._total - self._cached, "examples", seconds)
        if self._cached + self._computed == self._total:
            rate = done / max(seconds, 1e-9)
            text = f"{done} examples in {duration(seconds)}, {rate:.1f}/s"
        return f"{text}; {self._cached} reused from the store" if self._cached else text

    def _new_rows(self, shard: Shard) -> int:
        if shard in self._seen:
            return 0
        self._seen.add(shard)
        return shard.stop - shard.start

    def _advance(self, within: int) -> None:
        self._within = within
        self._show()

    def _show(self, *, now: bool = False) -> None:
        if not on_server() or (
            not now and time.monotonic() - self._updated < _SECONDS_BETWEEN_UPDATES
        ):
            return
        self._updated = time.monotonic()
        percent = 100 * (self._cached + self._computed + self._within) / max(1, self._total)
        _try(lambda: self._publish(percent))

    def _publish(self, percent: float) -> None:
        if self._artifact is None:
            made: Any = create_progress_artifact(percent, key=self._key, description=self.words())
            self._artifact = made
        else:
            update_progress_artifact(self._artifact, percent, description=self.words())


class _Watch:
    """A reporter that also passes on the progress of the current shard."""

    def __init__(self, shown: Reporter, advance: Callable[[int], None]) -> None:
        self._shown = shown
        self._advance = advance
        self.was_cached = False

    def step(self, label: str, unit: str) -> Progress:
        """Begin a step."""
        shown = self._shown.step(label, unit)

        def progress(done: int, total: int) -> None:
            shown(done, total)
            self._advance(done)

        return progress

    def end(self, label: str, *, seconds: float, cached: bool) -> None:
        """End a step."""
        self.was_cached = cached
        self._shown.end(label, seconds=seconds, cached=cached)


def show_run(config: RunConfig, result: RunResult) -> None:
    """Publish the summary, tables, figures and link of a finished run."""
    if not on_server():
        return
    _try(lambda: create_markdown_artifact(_summary(config, result), key=_key(config, "summary")))
    if result.selections:
        method = config.selection.main
        rows = _picks(result, method)
        title = f"The first {len(rows)} picks of {method}"
        _try(
            lambda: create_table_artifact(
                as_cells(rows), key=_key(config, "picks"), description=title
            )
        )
        for name, svg in pictures(collect(config, result)).items():
            _try(lambda name=name, svg=svg: _image(config, name, svg))  # type: ignore[misc]
    if result.scores:
        table = json.loads(read_scores(result.scores).to_json(orient="records"))
        title = "Held-out scores of each method on each task"
        _try(
            lambda: create_table_artifact(
                as_cells(table), key=_key(config, "scores"), description=title
            )
        )
    address = _report_address(config, result)
    if address is not None:
        title = f"The report of {config.name}"
        _try(
            lambda: create_link_artifact(
                address, link_text="report", key=_key(config, "report"), description=title
            )
        )


def _key(config: RunConfig, what: str) -> str:
    """Return an artifact's key: lower-case letters, digits and dashes."""
    name = re.sub(r"[^a-z0-9]+", "-", config.name.lower()).strip("-")
    return f"{name}-{what}" if name else what


def _summary(config: RunConfig, result: RunResult) -> str:
    lines = [f"# {config.name}", "", f"Model: {as_code(config.model.path)}", ""]
    if result.data is not None:
        data = load_prepared(result.data)
        rejects = f", {len(data.rejects)} rows rejected" if data.rejects else ""
        lines += [
            f"{len(data.train)} pool rows, {len(data.validation)} validation instances, "
            f"{len(data.test)} test rows{rejects}.",
            "",
        ]
    if result.selections:
        picked = {name: len(read_selection(handle)) for name, handle in result.selections.items()}
        lines += ["Selected: " + ", ".join(f"{n} by {m}" for m, n in picked.items()) + ".", ""]
    verdict = run_verdict(result)
    if verdict is not None:
        lines += [f"**{verdict.label}**", "", *(f"> {text}\n>" for text in verdict.sentences), ""]
    records = {name: handle.record() for name, handle in result.stages().items()}
    lines += ["| stage | time | |", "| --- | ---: | --- |"]
    for name, step in stage_timings(records, since=result.started).items():
        how = "in the store" if step["cached"] else "computed"
        lines.append(f"| {name} | {duration(step['seconds'])} | {how} |")
    if result.folder is not None:
        lines += ["", f"Everything is in {as_code(result.folder)}."]
    return "\n".join(lines)


def _picks(result: RunResult, method: str) -> list[dict[str, Any]]:
    picks = read_selection(result.selections[method]).head(_PICKS_SHOWN).round(3)
    texts: dict[str, str] = {}
    if result.data is not None:
        frame = load_prepared(result.data).train.frame
        texts = dict(zip(frame["row_id"], frame["messages"], strict=True))
    rows: list[dict[str, Any]] = json.loads(picks.to_json(orient="records"))
    return [
        {
            "rank": row["rank"],
            "source": row["source"],
            "prompt": _prompt(texts.get(row["row_id"], "[]")),
            "picked for": row.get("winning_validation") or "",
            "utility": row["utility"],
            "row id": row["row_id"],
        }
        for row in rows
    ]


def _prompt(messages: str) -> str:
    asked = [message["content"] for message in json.loads(messages) if message["role"] == "user"]
    return " ".join(asked[-1].split())[:_TEXT_SHOWN] if asked else ""


def _image(config: RunConfig, name: str, svg: str) -> Any:
    encoded = base64.b64encode(svg.encode()).decode()
    return create_image_artifact(
        f"data:image/svg+xml;base64,{encoded}",
        key=_key(config, f"figure-{name}"),
        description=_FIGURES[name],
    )


_FIGURES: Final = {
    "scores": "Score of each method on each task, with 95% intervals",
    "influence": "Average influence of each selection on each validation instance, z-scored",
    "picks": "Share of the first picks won by each task's instances",
}


def _report_address(config: RunConfig, result: RunResult) -> str | None:
    if result.folder is None or not (result.folder / "report.html").exists():
        return None
    base = config.execution.report_url
    if base is None:
        return (result.folder / "report.html").as_uri()
    return f"{base.rstrip('/')}/{config.name}/report.html"


def _try(publish: Callable[[], Any]) -> None:
    """Publish an artifact; an unreachable server is logged, and the run continues."""
    try:
        publish()
    except (httpx.TransportError, PrefectHTTPStatusError) as error:
        logger.warning("an artifact was not shown in the Prefect UI: %s", error)
