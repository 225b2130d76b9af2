"""The configuration that `bids init` writes: a template filled in with the answers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flows.commands.init_data import Looked

SCHEMA: Final = "bids.schema.json"
_LONG: Final = (
    "# `answer_loss`: long answers are not compared word for word; their loss is measured."
)
_ALL_UP_TO: Final = 2_000
_QUARTER_UP_TO: Final = 20_000
_SMALL_BATCH_UP_TO: Final = 500


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers from which a configuration is written.

    Args:
        name: of the run.
        model: folder, hub name or bundled model.
        pool: the sources.
        validation: the tasks.
        test: held-out rows of tasks.
        budget: as the user wrote it.
        picks: the budget in rows; None if the pool was not read.
    """

    name: str
    model: str
    pool: Sequence[Looked]
    validation: Sequence[Looked]
    test: Sequence[Looked]
    budget: str
    picks: int | None


def configuration(answers: Answers) -> str:
    """Return the text of a configuration with comments."""
    rows = [one.rows for one in answers.pool]
    n_rows = None if None in rows else sum(count or 0 for count in rows)
    batch = 8 if n_rows is not None and n_rows <= _SMALL_BATCH_UP_TO else 16
    training = f"epochs: 2, learning_rate: 2.0e-4, batch_size: {batch}"
    beside = "selected, fine-tuned and evaluated" if answers.test else "selected"
    share, why = warmup_share(n_rows)
    return f"""\
# yaml-language-server: $schema={SCHEMA}
# What to select from, for what, with which model. Paths are relative to this file. `bids config`
# lists every field; `bids config selection.budget` describes one.

name: {quoted(answers.name)}    # results go to runs/{answers.name}
model:
  path: {quoted(answers.model)}

# The training pool: what to select from.
pool:
{_sources(answers.pool)}
# A few examples of each thing the model should be good at; 10 to 50 per task is usual. Tasks of one
# capability share a line in the averages: give them the same name.
validation:
{_tasks(answers.validation)}{_test(answers.test)}
selection:
  budget: {_budget(answers, n_rows)}
  compare: [less, random]    # {beside} beside it; [] for none

# Fields not listed have the defaults of the LESS and BIDS papers; these suit a small machine.
data: {{max_length: 1024}}
lora: {{r: 16, alpha: 32, dropout: 0.0}}
{why}
warmup: {{fraction: {share}, {training}}}
{_finetune(answers, training)}"""


def warmup_share(n_rows: int | None) -> tuple[str, str]:
    """Return the share of the pool that the warmup trains on, and the reason as a comment.

    Args:
        n_rows: rows of the pool; None if unknown.
    """
    if n_rows is not None and n_rows <= _ALL_UP_TO:
        return "1.0", (
            f"# Warmup on all {n_rows:,} rows: in a small pool, a part would give too few steps."
        )
    if n_rows is not None and n_rows <= _QUARTER_UP_TO:
        return "0.25", (
            f"# Warmup on a quarter of the {n_rows:,} rows: enough steps, at a quarter of the "
            "time. BIDS: 1.0."
        )
    of = "" if n_rows is None else f" of the {n_rows:,} rows"
    return "0.05", f"# Warmup on 5%{of}, LESS's share: on a large pool that is enough. BIDS: 1.0."


def quoted(text: str) -> str:
    """Return a text as YAML, quoted if necessary."""
    plain = re.fullmatch(r"[A-Za-z0-9./][\w./*:-]*", text) and not text.endswith(":")
    number = re.fullmatch(r"[\d.:_eE+-]+|true|false|null|yes|no|on|off", text, re.IGNORECASE)
    return text if plain and not number else json.dumps(text, ensure_ascii=False)


def _sources(pool: Sequence[Looked]) -> str:
    return "".join(f"  - path: {quoted(one.path)}    # {one.words}\n" for one in pool)


def _tasks(tasks: Sequence[Looked], more: str = "") -> str:
    return "".join(
        f"  - {{task: {quoted(one.task)}, capability: {quoted(one.task)}, path: "
        f"{quoted(one.path)}{more.format(metric='exact_match' if one.short else 'answer_loss')}}}"
        f"    # {one.words}\n"
        for one in tasks
    )


def _test(test: Sequence[Looked]) -> str:
    if not test:
        return ""
    loss = "" if all(one.short for one in test) else f"\n{_LONG}"
    return f"""
# Held-out rows to score the result on.{loss}
test:
{_tasks(test, ", metric: {metric}")}"""


def _budget(answers: Answers, n_rows: int | None) -> str:
    if answers.picks is None or n_rows is None:
        return f"{answers.budget}    # a fraction of the pool, or a number of rows"
    return (
        f"{answers.budget}    # {answers.picks:,} of the {n_rows:,} rows; a fraction, or a number "
        "of rows"
    )


def _finetune(answers: Answers, training: str) -> str:
    if answers.test:
        return f"finetune: {{{training}}}\n"
    return f"""\
# Without test rows nothing can be measured, so the run ends with the selected rows. To train on
# each method's picks and compare them, add test rows under `test:` and switch this on.
finetune: {{enabled: false, {training}}}
"""
