"""Where rows come from, and how they become tokens."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from bids_core.config.choices import METRICS, OneOf, TestMetric
from bids_core.config.effects import Changes, Effect, Resolved
from bids_core.config.evaluation import GenerationConfig
from bids_core.config.section import Name, PositiveInt, Section, Seed


class ReadLimits(Section):
    """Limits on input files: far beyond real data, but below what exhausts a machine."""

    effects: ClassVar[tuple[Effect, ...]] = (Changes("prepare"),)

    row_bytes: PositiveInt = 1 << 24
    """Longest line or row, in bytes (for CSV, in characters); longer ones are rejected."""
    document_bytes: PositiveInt = 1 << 31
    """Longest JSON document (.json), in uncompressed bytes; it is read whole."""
    ratio: PositiveInt = 200
    """Largest compression ratio: how many times its own size a compressed or Parquet file may
    expand to. Applies once more than 256 MiB have been read."""


class SourceConfig(Section):
    """One source of rows."""

    effects: ClassVar[tuple[Effect, ...]] = (Changes("prepare"),)

    path: Annotated[str, Resolved("prepare", by="the digest of its files")]
    """File, glob, folder or hub name (`hf:org/name`, `hf:org/name:config`); `${VAR}` is read from
    the environment. A relative path starts at the config file's folder or, in a run started from a
    server's form, at the worker's folder."""
    name: Annotated[Name | None, Resolved("prepare", by="the resulting name of the source")] = None
    """Name of the source, unique within pool, validation or test; default: the task's name, else
    the file's stem. In the pool, each file of an unnamed glob or folder is its own source."""
    dataset: Annotated[str | None, Resolved("prepare", by="the settings in the entry")] = None
    """If `path` is LLaMA-Factory's `dataset_info.json`: the name of an entry. If it is an axolotl
    configuration: the number of an entry of its `datasets:` (default: all). Separate several with
    commas."""
    format: Annotated[str, OneOf("bids_core.data.formats:FORMATS", more=("auto",))] = "auto"
    """Format of the rows; `auto` detects it from the names of a row's fields."""
    mapping: dict[str, str] = Field(default_factory=dict)
    """Where to find `prompt` and `completion` (or `messages`), `system`, `tools`, `id`, `subtask`,
    `choices`: a field name, a dotted path (`instances.0.output`), or a Jinja template (`{{
    question }}`). `_file` (stem of the file) and `_line` can be used like fields. `weight` names
    the field of a *turn* that holds its weight in the loss (true, false or a number)."""
    records: str | None = None
    """Dotted path of the list of rows, in a JSON file that wraps them (`examples`)."""
    split: str | None = None
    """Split of a hub dataset or of a `datasets` folder."""
    limits: ReadLimits = ReadLimits()
    """How long a row may be, and how far a file may expand."""
    strip_suffix: str | None = None
    """Text to remove from the end of every completion (`<|endoftext|>`)."""
    start: int = Field(default=0, ge=0)
    """Skip this many rows at the beginning of the source."""
    limit: PositiveInt | None = None
    """Take at most this many usable rows: a random sample with `sample_seed`, otherwise the first
    ones."""
    sample_seed: Seed | None = None
    """Draw the `limit` rows at random with this seed."""


class ValidationTask(SourceConfig):
    """Validation instances of one task: what the model should be good at."""

    task: Name
    """Name of the task."""
    capability: Name
    """Capability of the task (`math`, `coding`, ...)."""


class TestTask(SourceConfig):
    """Held-out rows on which the fine-tuned models are evaluated."""

    __test__ = False  # pytest would take it for a test class by its name

    task: Annotated[Name, Changes("prepare", "evaluation")]
    """Name of the task."""
    capability: Annotated[Name, Changes("prepare", "evaluation")]
    """Capability of the task."""
    metric: Annotated[
        TestMetric,
        Changes("evaluation"),
        Resolved("prepare", by="whether rows need choices"),
    ] = "exact_match"
    """What counts as a correct answer."""
    answer_pattern: Annotated[str | None, Changes("evaluation")] = None
    """Regular expression whose last match (group 1, if it has one) is the answer, in both reference
    and generation."""
    scorer: Annotated[str | None, Resolved("evaluation", by="the digest of its code")] = None
    """Function that judges a generation: `package.module:function`, or `scorers.py:function` with
    a path relative to the config file. It gets the generation and the row's fields (a dict) and
    returns a number from 0 to 1."""
    stop: Annotated[tuple[str, ...], Changes("evaluation")] = ()
    """Texts that end a generation (and are removed from it), besides the model's end-of-turn
    token."""
    max_new_tokens: Annotated[PositiveInt, Changes("evaluation")] = 32
    """Longest generation, in tokens; a thinking model needs thousands."""
    generation: Annotated[GenerationConfig | None, Changes("evaluation")] = None
    """How answers are generated; null: as set in `evaluation.generation`."""

    @model_validator(mode="after")
    def _scorer_fits_the_metric(self) -> TestTask:
        if METRICS.entries[self.metric].scorer != (self.scorer is not None):
            msg = (
                f"test task {self.task!r}: metric `generation` and `scorer` go together "
                f"(metric {self.metric}, scorer {self.scorer}); set both or neither"
            )
            raise ValueError(msg)
        if any(not text for text in self.stop):
            msg = f"test task {self.task!r}: a blank `stop` text ends every answer; remove it"
            raise ValueError(msg)
        return self


class DataConfig(Section):
    """How rows become tokens, and how overlap is handled."""

    effects: ClassVar[tuple[Effect, ...]] = (Changes("prepare"),)

    max_length: PositiveInt = 2048
    """Longest example, in tokens; longer ones are truncated on the right."""
    learn: Literal["all", "last"] = "all"
    """Learn all answers of a conversation, or only the last one. Marks on the turns themselves
    (`weight`, `train`, `loss_weight`) still apply."""
    system: Literal["keep", "merge"] = "keep"
    """`merge` prepends a system turn to the user turn that follows it, for chat templates that
    reject system turns (Gemma 2)."""
    join_turns: bool = False
    """Join consecutive turns of the same speaker, separated by a blank line, for chat templates
    that require alternating turns."""
    altered: Literal["warn", "reject"] = "warn"
    """What to do with a row that the chat template alters (leaves out or rewrites reasoning, tools
    or part of a turn), so that less is learned than exported: count it, or reject it."""
    template_args: Annotated[dict[str, Any], Changes("prepare", "evaluation", "suite")] = Field(
        default_factory=dict
    )
    """Variables for the chat template (`enable_thinking: false`), in every rendering: training,
    validation, test prompts, benchmark suites."""
    template_steps: PositiveInt = 1_000_000
    """Steps that a template (`mapping`, chat template) may take on one row: loop iterations, calls,
    and every 256 characters processed; long rows may take more. A row over the limit is rejected;
    ordinary rows take a few hundred."""
    duplicate_ids: Literal["reject", "error"] = "reject"
    """If a row id occurs twice in a source: reject the later row, or stop."""
    overlap: Literal["warn", "drop"] = "warn"
    """If a pool row contains a validation or test row: list it, or drop it from the pool."""
    overlap_ngram: PositiveInt = 13
    """Number of consecutive words that count as overlap (13, as in GPT-3's contamination study);
    text that a template repeats in many rows does not count."""
