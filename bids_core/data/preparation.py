"""The stage "prepare": from the sources of a config to tokenized, checked splits."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from bids_core.data.chat import ChatRenderer
from bids_core.data.ingest import Account, Ingested, ingest
from bids_core.data.locate import split_suffix
from bids_core.data.notes import ALTERED, NOTES
from bids_core.data.overlap import find_overlap
from bids_core.data.rejects import RejectedRow
from bids_core.data.sources import SPLITS, Source, SplitName, find_sources
from bids_core.data.splits import PreparedData, Split
from bids_core.data.summary import most_frequent, summarise
from bids_core.data.tokenization import Tokenized, tokenize_examples
from bids_core.errors import DataError
from bids_core.progress import Progress, silent
from bids_core.records import Example, Reject, TokenizedExample

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from transformers import PreTrainedTokenizerBase

    from bids_core.config import DataConfig, RunConfig


logger = logging.getLogger(__name__)

HELD_OUT: Final = frozenset({"validation", "valid", "val", "dev", "test", "eval", "evaluation"})
"""Folder names that suggest held-out rows."""


@dataclass(slots=True)
class _Work:
    """A split under preparation."""

    split: SplitName
    sources: list[Source]
    rows: Ingested
    tokens: list[TokenizedExample] = field(default_factory=list)
    notes: list[tuple[str, ...]] = field(default_factory=list)
    truncated: int = 0
    merged: int = 0

    def reject(self, example: Example, reason: str, detail: str) -> None:
        """Move a row from the kept rows of its source to the rejects."""
        self.rows.rejects.append(
            Reject(example.location, reason, detail, self.split, example.source, example.row_id)
        )
        account = next(a for a in self.rows.accounts if a.source == example.source)
        account.kept -= 1
        account.rejected += 1


def prepare(
    config: RunConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    base_dir: Path,
    on_progress: Progress = silent,
) -> PreparedData:
    """Read, check, render and tokenize all rows of a run, and look for overlap.

    Args:
        config: the run.
        tokenizer: a fast transformers tokenizer with a chat template.
        base_dir: folder that relative paths start from (that of the config file).
        on_progress: called with the number of rows tokenized, out of all rows read.

    Returns:
        The prepared data. Every row read is in a split, among the rejects, or counted as skipped
        (`start`) or cut (`limit`).

    Raises:
        ConfigError: a variable in a path is not set, or names or mappings are invalid.
        DataError: a file cannot be read, or the pool or a task ends up without rows.
        ModelError: the tokenizer has no chat template, or is not a fast one.
    """
    sources = find_sources(config, base_dir)
    ChatRenderer(tokenizer)  # an unusable tokenizer fails before anything is read
    works = [_read(split, sources, config.data) for split in SPLITS]
    for work in works:
        _refuse_empty(work)
    _tokenize(works, tokenizer, config.data, on_progress)
    for work in works:
        _refuse_empty(work)
    overlap = find_overlap(
        {work.split: work.rows.examples for work in works}, ngram=config.data.overlap_ngram
    )
    if config.data.overlap == "drop":
        _drop(works[0], overlap)
        _refuse_empty(works[0])
    return _finish(works, overlap)


def _read(split: SplitName, sources: list[Source], data: DataConfig) -> _Work:
    own = [source for source in sources if source.split == split]
    rows = ingest(
        own,
        duplicate_ids=data.duplicate_ids,
        merge=data.system == "merge",
        join=data.join_turns,
        steps=data.template_steps,
    )
    return _Work(split, own, rows)


def _tokenize(
    works: list[_Work],
    tokenizer: PreTrainedTokenizerBase,
    data: DataConfig,
    on_progress: Progress,
) -> None:
    total, done = sum(len(work.rows.examples) for work in works), 0
    for work in works:
        examples, kept = work.rows.examples, []
        results = tokenize_examples(
            examples, tokenizer, data.max_length, learn=data.learn, altered=data.altered,
            steps=data.template_steps,
        )  # fmt: skip
        for example, result in zip(examples, results, strict=True):
            if isinstance(result, RejectedRow):
                work.reject(example, result.reason, result.detail)
            else:
                kept.append(example)
                _count(work, result)
            done += 1
            on_progress(done, total)
        work.rows.examples = kept


def _count(work: _Work, result: Tokenized) -> None:
    work.tokens.append(result.example)
    work.notes.append(result.notes)
    work.truncated += result.full_length > result.example.n_tokens
    work.merged += result.merged


def _drop(pool: _Work, overlap: pd.DataFrame) -> None:
    """Reject the pool rows that overlap with held-out rows, each once."""
    pairs = overlap[overlap["split"] == "train"].drop_duplicates("row_id")
    guilty = {pair.row_id: pair for pair in pairs.itertuples()}
    kept: list[tuple[Example, TokenizedExample, tuple[str, ...]]] = []
    for example, tokens, notes in zip(pool.rows.examples, pool.tokens, pool.notes, strict=True):
        pair = guilty.get(example.row_id)
        if pair is None:
            kept.append((example, tokens, notes))
            continue
        detail = (
            f"shares {'its prompt' if pair.kind == 'exact' else 'words'} with {pair.other_split}"
            f" row {pair.other_row_id} of task {pair.task}; data.overlap: warn keeps such rows"
        )
        pool.reject(example, f"overlap-{pair.other_split}", detail)
    pool.rows.examples = [example for example, _, _ in kept]
    pool.tokens = [tokens for _, tokens, _ in kept]
    pool.notes = [notes for _, _, notes in kept]


def _refuse_empty(work: _Work) -> None:
    """Raise if the run could not continue: an empty pool, or a task without rows.

    Raises:
        DataError: names the pool or task, its files, and the most frequent reason.
    """
    if work.split == "train":
        if not work.rows.examples:
            raise DataError(_nothing_left("the pool", work.sources, work.rows))
        return
    rows = Counter(example.task for example in work.rows.examples)
    for task in dict.fromkeys(source.task for source in work.sources):
        if not rows[task]:
            own = [source for source in work.sources if source.task == task]
            raise DataError(_nothing_left(f"{work.split} task {task!r}", own, work.rows))


def _nothing_left(what: str, sources: list[Source], rows: Ingested) -> str:
    names = {source.name for source in sources}
    accounts = [account for account in rows.accounts if account.source in names]
    rejects = [reject for reject in rows.rejects if reject.source in names]
    places = ", ".join(source.config.path for source in sources)
    read, skipped = sum(a.read for a in accounts), sum(a.skipped for a in accounts)
    counts = f"{read} rows read from {places}"
    if skipped:
        counts += f", {skipped} of them skipped by `start`"
    hint = most_frequent(rejects) or "; give it a file with rows, or lower `start`"
    return f"{what} has no usable row: {counts}{hint}"


def _named_by_file(work: _Work) -> list[Example]:
    """Name the pool rows of an unnamed glob or folder after their files.

    To a reader of the report, a folder of 49 files is 49 sources.
    """
    names = {
        file.shown: split_suffix(file.label)[0]
        for source in work.sources
        if source.split == "train" and source.config.name is None
        for file in source.files
        if file.label is not None
    }
    return [
        replace(example, source=names.get(example.location.rpartition(":")[0], example.source))
        for example in work.rows.examples
    ]


def _warn_of_losses(works: list[_Work]) -> None:
    """Log once, with a count, on how many rows less is learned than they hold."""
    counts = Counter(note for work in works for notes in work.notes for note in notes)
    for note in (*ALTERED, "special-text", "no-end-of-turn", "other-role-not-learned"):
        if counts[note]:
            logger.warning("rows with note %s: %d; %s", note, counts[note], NOTES[note])


def _warn_of_held_out_folders(sources: list[Source]) -> None:
    """Warn about folders of the pool whose names suggest held-out rows."""
    counts = Counter(
        (source.config.path, folder)
        for source in sources
        for file in source.files
        if file.label is not None
        for folder in file.label.split("/")[:-1]
        if folder.lower() in HELD_OUT
    )
    for (path, folder), count in counts.items():
        logger.warning(
            "the pool %s includes %d file%s of a folder named %r; use a pattern that leaves "
            "them out if they are held out", path, count, "" if count == 1 else "s", folder,
        )  # fmt: skip


def _finish(works: list[_Work], overlap: pd.DataFrame) -> PreparedData:
    _warn_of_losses(works)
    _warn_of_held_out_folders(works[0].sources)
    splits: dict[str, Split] = {
        work.split: Split.of(_named_by_file(work), work.tokens, work.notes) for work in works
    }
    rejects = [reject for work in works for reject in work.rows.rejects]
    accounts: list[Account] = [account for work in works for account in work.rows.accounts]
    return PreparedData(
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        rejects=rejects,
        overlap=overlap,
        summary=summarise(
            splits, rejects=rejects, accounts=accounts, overlap=overlap,
            truncated={work.split: work.truncated for work in works},
            merged={work.split: work.merged for work in works},
        ),
    )  # fmt: skip
