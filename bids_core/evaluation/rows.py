"""A test row becomes token ids, a reference answer and (for multiple choice) scored choices.

The prompt is the stored token ids of the row up to its last completion, never a second rendering:
what the model reads in the evaluation is what it read in training. Everything that can be wrong
with a row is found here, before the first forward pass.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_core.errors import DataError
from bids_core.evaluation.answers import compile_pattern, extract_answer
from bids_core.records import IGNORED_LABEL, TokenizedExample

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

    import numpy.typing as npt
    from transformers import PreTrainedTokenizerBase

    from bids_core.config import TestTask
    from bids_core.data import Split


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """One test row, ready to be evaluated.

    Args:
        row_id: unique within the split.
        location: ``file:line``.
        example: all its tokens; the labels are what the answer loss is taken over.
        prompt: token ids up to the last completion.
        prompt_text: the same, as text.
        reference: the answer to compare with.
        choices: answer options (multiple choice), else empty.
        choice_ids: token ids of each option, end of turn included.
    """

    row_id: str
    location: str
    example: TokenizedExample
    prompt: tuple[int, ...]
    prompt_text: str
    reference: str
    choices: tuple[str, ...]
    choice_ids: tuple[tuple[int, ...], ...]


def rows_of_task(
    split: Split, task: TestTask, tokenizer: PreTrainedTokenizerBase, *, max_positions: int | None
) -> list[EvaluationRow]:
    """Make the rows of one test task.

    Args:
        split: the test split.
        task: which task, and how it is scored.
        tokenizer: the model's; it is only read.
        max_positions: longest sequence that the model takes, None where it says nothing.

    Raises:
        DataError: the task has no rows, or a row can not be scored (its location is named).
        ConfigError: the answer pattern is not a regular expression.
    """
    frame = split.frame[split.frame["task"] == task.task]
    if frame.empty:
        msg = (
            f"test task {task.task!r} has no rows; see the rejects, or remove the task from `test`"
        )
        raise DataError(msg)
    pattern = compile_pattern(task)
    rows = [_row(record, task, pattern, tokenizer) for record in frame.to_dict("records")]
    for row in rows:
        _check_length(row, task, max_positions)
    return rows


def _row(
    record: dict[Any, Any],
    task: TestTask,
    pattern: re.Pattern[str] | None,
    tokenizer: PreTrainedTokenizerBase,
) -> EvaluationRow:
    from bids_core.data import completion_text

    location = str(record["location"])
    example = TokenizedExample(
        row_id=str(record["row_id"]),
        input_ids=np.asarray(record["input_ids"], dtype=np.int32),
        labels=np.asarray(record["labels"], dtype=np.int32),
    )
    start, end = last_completion(example.labels)
    prompt = tuple(example.input_ids[:start].tolist())
    text = completion_text(json.loads(record["messages"]))
    choices: tuple[str, ...] = ()
    choice_ids: tuple[tuple[int, ...], ...] = ()
    if task.metric == "multiple_choice":
        choices = _choices(record, text, location)
        completion = tuple(example.input_ids[start:end].tolist())
        choice_ids = _choice_ids(choices, text, completion, tokenizer, location)
        reference = text.strip()
    else:
        reference = _reference(text, pattern, task, location)
    return EvaluationRow(
        row_id=example.row_id,
        location=location,
        example=example,
        prompt=prompt,
        prompt_text=str(tokenizer.decode(list(prompt))),
        reference=reference,
        choices=choices,
        choice_ids=choice_ids,
    )


def last_completion(labels: npt.NDArray[np.int32]) -> tuple[int, int]:
    """Return where the last run of labelled tokens starts and ends (exclusive).

    Earlier runs are the assistant's earlier turns: part of the prompt.
    """
    labelled = np.flatnonzero(labels != IGNORED_LABEL)
    end = int(labelled[-1]) + 1
    gaps = np.flatnonzero(np.diff(labelled) > 1)
    return int(labelled[gaps[-1] + 1] if len(gaps) else labelled[0]), end


def _reference(text: str, pattern: re.Pattern[str] | None, task: TestTask, location: str) -> str:
    reference = extract_answer(text, pattern)
    if reference is None:
        msg = (
            f"{location}: test task {task.task!r}: answer_pattern {task.answer_pattern!r} matches "
            f"nothing in the reference {shortened(text)!r}; mend the pattern or the row"
        )
        raise DataError(msg)
    if not reference:
        msg = f"{location}: test task {task.task!r}: the reference answer is empty; mend the row"
        raise DataError(msg)
    return reference


def _choices(record: dict[Any, Any], text: str, location: str) -> tuple[str, ...]:
    stored = record.get("choices")
    if not isinstance(stored, str):
        msg = (
            f"{location}: the row has no choices, which metric multiple_choice needs; map `choices`"
            " to a list field, or use metric exact_match"
        )
        raise DataError(msg)
    choices = tuple(str(choice).strip() for choice in json.loads(stored))
    if text.strip() not in choices:
        msg = (
            f"{location}: the answer {shortened(text)!r} is not among the choices "
            f"{[shortened(choice) for choice in choices]}; mend the row"
        )
        raise DataError(msg)
    return choices


def _choice_ids(
    choices: Sequence[str],
    text: str,
    completion: tuple[int, ...],
    tokenizer: PreTrainedTokenizerBase,
    location: str,
) -> tuple[tuple[int, ...], ...]:
    """Tokenize the choices as the stored completion is, its end of turn included.

    With the end of turn a choice that another one starts with (`1`, `10`) gets no head start.
    White space around the answer is kept around every choice.
    """
    reference = _ids(tokenizer, text)
    if completion[: len(reference)] != reference:
        msg = (
            f"{location}: the tokens of the answer {shortened(text)!r} depend on the text before "
            "it, so the choices can not be scored alone; use metric exact_match"
        )
        raise DataError(msg)
    ending = completion[len(reference) :]
    before, _, after = text.partition(text.strip())
    return tuple((*_ids(tokenizer, f"{before}{choice}{after}"), *ending) for choice in choices)


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    return tuple(tokenizer.encode(text, add_special_tokens=False))


def _check_length(row: EvaluationRow, task: TestTask, max_positions: int | None) -> None:
    longest_choice = max((len(ids) for ids in row.choice_ids), default=task.max_new_tokens)
    needed = len(row.prompt) + longest_choice
    if max_positions is not None and needed > max_positions:
        msg = (
            f"{row.location}: test task {task.task!r}: the prompt has {len(row.prompt)} tokens and "
            f"the answer may take {longest_choice}, but the model takes {max_positions}; shorten "
            "the row, or lower max_new_tokens"
        )
        raise DataError(msg)


def stop_tokens(
    rows: Sequence[EvaluationRow], tokenizer: PreTrainedTokenizerBase, known: Sequence[int]
) -> tuple[int, ...]:
    """Return the token ids that end an answer.

    They are the special token that closes each row's completion, read off the data (`<|im_end|>`,
    `<|eot_id|>`), the tokenizer's end of sequence, and those that the model's own generation
    config names.
    """
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    found: dict[int, None] = {}
    for row in rows:
        labelled = row.example.labels[row.example.labels != IGNORED_LABEL].tolist()
        closing = [token for token in labelled if token in special][-1:]
        found.update(dict.fromkeys(closing))
    if tokenizer.eos_token_id is not None:
        found[int(tokenizer.eos_token_id)] = None
    return tuple(dict.fromkeys((*found, *known)))


def shortened(text: str, limit: int = 80) -> str:
    """Cut a text for a one-line message."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"
