"""From test rows to token ids, reference answers and (for multiple choice) tokenized choices.

The prompt consists of the row's stored token ids up to its last completion, never of a second
rendering, so the model reads in evaluation exactly what it read in training. A choice is tokenized
like a completion of that conversation, including the end of turn, so a choice that is a prefix of
another (`1`, `10`) has no advantage. All problems with a row are found here, before the first
forward pass.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bids_core.data.conversation import completion_text, from_json, prompt_messages
from bids_core.data.rejects import RejectedRow, shorten
from bids_core.data.tokenization import tokenize_examples
from bids_core.errors import DataError
from bids_core.evaluation.answers import compile_pattern, extract_answer
from bids_core.evaluation.metrics import METRICS
from bids_core.evaluation.thoughts import MARKERS, text_behind_thought
from bids_core.models.fit import unknown_id
from bids_core.records import IGNORED_LABEL, Example, Message, TokenizedExample

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from transformers import PreTrainedTokenizerBase

    from bids_core.config import TestTask
    from bids_core.data import Split
    from bids_core.sandbox import Expression

_UNLIMITED: Final = 2**31
"""Choices are not truncated; whether they fit the model is checked."""


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """One test row, ready for evaluation.

    Args:
        location: ``file:line``.
        example: all its tokens; the answer loss is computed over its labels.
        last: the same with labels on the last completion only, which is what is asked for.
        prompt: token ids up to the last completion.
        prompt_text: the prompt as text.
        opening: what the chat template writes between the prompt and the answer (some write a blank
            `<think>` block); almost always empty.
        reference: the answer to compare with; empty for a judged row that has none.
        choices: answer options (multiple choice only).
        choice_examples: prompt and option as tokens, for each option, with labels on the option
            only.
        fields: the row as it is in the file.
    """

    location: str
    example: TokenizedExample
    last: TokenizedExample
    prompt: tuple[int, ...]
    prompt_text: str
    opening: str
    reference: str
    choices: tuple[str, ...] = ()
    choice_examples: tuple[TokenizedExample, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def row_id(self) -> str:
        """Its id, unique within the split."""
        return self.example.row_id

    @property
    def scored_anyway(self) -> bool:
        """Whether scoring the last completion gives the answer loss: it has all the labels.

        Labels with unequal weights are scored separately, with their weights.
        """
        if self.example.weights is not None:
            return False
        asked = (
            self.choice_examples[self.choices.index(self.reference)] if self.choices else self.last
        )
        labels = [each.labels[each.labels != IGNORED_LABEL] for each in (asked, self.example)]
        return bool(np.array_equal(*labels))


def rows_of_task(
    split: Split,
    task: TestTask,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_positions: int | None,
    vocabulary: int | None = None,
    markers: Sequence[tuple[str, str]] = MARKERS,
) -> list[EvaluationRow]:
    """Make the rows of one test task.

    Args:
        split: the test split.
        task: the task, with its metric.
        tokenizer: the model's tokenizer, which is not changed.
        max_positions: longest sequence that the model accepts; None if unknown.
        vocabulary: number of rows of the model's embedding; None if unknown.
        markers: beginning and end of thoughts; the text after one is compared.

    Raises:
        DataError: the task has no rows, or a row cannot be scored (the message gives its location).
        ConfigError: the answer pattern is not a regular expression.
    """
    frame = split.frame[split.frame["task"] == task.task]
    if frame.empty:
        msg = f"test task {task.task!r} has no usable rows; see the rejects, or remove the task"
        raise DataError(msg)
    pattern = compile_pattern(task)
    rows = [_row(record, task, pattern, tokenizer, markers) for record in frame.to_dict("records")]
    for row in rows:
        _check_length(row, task, max_positions)
        _check_ids(row, tokenizer, vocabulary)
    return rows


def _row(
    record: dict[Any, Any],
    task: TestTask,
    pattern: Expression | None,
    tokenizer: PreTrainedTokenizerBase,
    markers: Sequence[tuple[str, str]],
) -> EvaluationRow:
    weights = record.get("weights")
    example = TokenizedExample(
        row_id=str(record["row_id"]),
        input_ids=np.asarray(record["input_ids"], dtype=np.int32),
        labels=np.asarray(record["labels"], dtype=np.int32),
        weights=None if weights is None else np.asarray(weights, dtype=np.float32),
    )
    location = str(record["location"])
    messages = from_json(record["messages"])
    text = completion_text(messages)
    fields = json.loads(record["fields"]) if isinstance(record.get("fields"), str) else {}
    if not text.strip() or not (example.labels != IGNORED_LABEL).any():
        if not METRICS[task.metric].needs_reference:
            return _without_reference(example, location, fields, tokenizer)
        others = [name for name, metric in METRICS.items() if not metric.needs_reference]
        msg = (
            f"{location}: test task {task.task!r}: metric {task.metric} needs a reference "
            "answer, and the row has none; add one, or use a metric that needs none "
            f"({', '.join(others)})"
        )
        raise DataError(msg)
    start, end = last_completion(example.labels)
    if messages[-1].tool_calls:  # how they are written is up to the template
        ids = example.input_ids[start:end].tolist()
        text = str(tokenizer.decode(ids, skip_special_tokens=True))
    before, found, _ = _decode(tokenizer, example.input_ids[start:end]).partition(text.strip())
    row = EvaluationRow(
        location=location,
        example=example,
        last=_last_only(example),
        prompt=tuple(example.input_ids[:start].tolist()),
        prompt_text=_decode(tokenizer, example.input_ids[:start]),
        opening=before.lstrip() if found else "",
        reference=text.strip(),
        fields=fields,
    )
    if METRICS[task.metric].asks == "choice":
        return _with_choices(row, record, messages, tokenizer)
    answer = text_behind_thought(text, markers)
    if not METRICS[task.metric].needs_reference:
        return replace(row, reference=answer.strip())
    return replace(row, reference=_reference(answer, pattern, task, location))


def _without_reference(
    example: TokenizedExample,
    location: str,
    fields: dict[str, Any],
    tokenizer: PreTrainedTokenizerBase,
) -> EvaluationRow:
    """Make a row that consists only of a prompt."""
    return EvaluationRow(
        location=location,
        example=example,
        last=example,
        prompt=tuple(example.input_ids.tolist()),
        prompt_text=_decode(tokenizer, example.input_ids),
        opening="",
        reference="",
        fields=fields,
    )


def last_completion(labels: npt.NDArray[np.int32]) -> tuple[int, int]:
    """Return the start and end (exclusive) of the last run of labelled tokens.

    Earlier runs are earlier assistant turns, which are part of the prompt.
    """
    labelled = np.flatnonzero(labels != IGNORED_LABEL)
    gaps = np.flatnonzero(np.diff(labelled) > 1)
    start = labelled[gaps[-1] + 1] if len(gaps) else labelled[0]
    return int(start), int(labelled[-1]) + 1


def _decode(tokenizer: PreTrainedTokenizerBase, ids: npt.NDArray[np.int32]) -> str:
    return str(tokenizer.decode(ids.tolist()))


def _reference(text: str, pattern: Expression | None, task: TestTask, location: str) -> str:
    reference = extract_answer(text, pattern)
    if not reference:
        msg = (
            f"{location}: test task {task.task!r}: answer_pattern {task.answer_pattern!r} finds no "
            f"answer in the reference {shorten(text)}; fix the pattern or the row"
        )
        raise DataError(msg)
    return reference


def _with_choices(
    row: EvaluationRow,
    record: dict[Any, Any],
    messages: Sequence[Message],
    tokenizer: PreTrainedTokenizerBase,
) -> EvaluationRow:
    stored, tools = record.get("choices"), record.get("tools")
    if not isinstance(stored, str):
        msg = (
            f"{row.location}: the row has no choices, which metric multiple_choice needs; map "
            "`choices` to a list field, or use metric exact_match"
        )
        raise DataError(msg)
    texts = [str(choice) for choice in json.loads(stored)]
    choices = tuple(text.strip() for text in texts)
    if row.reference not in choices:
        msg = (
            f"{row.location}: the answer {shorten(row.reference)} is not among the choices "
            f"{shorten(list(choices), 120)}; fix the row"
        )
        raise DataError(msg)
    before, _, after = completion_text(messages).partition(row.reference)
    prompt = prompt_messages(messages)
    examples = [
        Example(
            row_id=row.row_id,
            source="",
            messages=(*prompt, Message("assistant", f"{before}{choice}{after}")),
            location=row.location,
            tools=tools if isinstance(tools, str) else None,
        )
        for choice in choices
    ]
    scored = []
    for choice, result in zip(
        choices, tokenize_examples(examples, tokenizer, _UNLIMITED), strict=True
    ):
        if isinstance(result, RejectedRow):
            msg = f"{row.location}: the choice {shorten(choice)} cannot be scored: {result}"
            raise DataError(msg)
        scored.append(_last_only(result.example))
    return replace(row, choices=choices, choice_examples=tuple(scored))


def _last_only(example: TokenizedExample) -> TokenizedExample:
    """Keep the labels of the last completion only, with equal weights."""
    labels = example.labels.copy()
    labels[: last_completion(labels)[0]] = IGNORED_LABEL
    return replace(example, labels=labels, weights=None)


def _check_length(row: EvaluationRow, task: TestTask, max_positions: int | None) -> None:
    asks = METRICS[task.metric].asks
    if asks == "nothing":
        needed = row.example.n_tokens
    elif asks == "choice":
        needed = max(example.n_tokens for example in row.choice_examples)
    else:
        needed = len(row.prompt) + task.max_new_tokens
    if max_positions is not None and needed > max_positions:
        msg = (
            f"{row.location}: test task {task.task!r}: prompt and answer may take {needed} tokens, "
            f"but the model takes {max_positions}; shorten the row, or lower max_new_tokens"
        )
        raise DataError(msg)


def _check_ids(
    row: EvaluationRow, tokenizer: PreTrainedTokenizerBase, vocabulary: int | None
) -> None:
    largest = max(int(each.input_ids.max()) for each in (row.example, *row.choice_examples))
    if vocabulary is not None and largest >= vocabulary:
        raise DataError(unknown_id(row.location, largest, tokenizer, vocabulary))


def stop_tokens(
    rows: Sequence[EvaluationRow], tokenizer: PreTrainedTokenizerBase, known: Sequence[int]
) -> tuple[int, ...]:
    """Return the token ids that end an answer.

    These are the special token that closes each row's completion in the data (`<|im_end|>`,
    `<|eot_id|>`), the tokenizer's end-of-sequence token, and those in the model's own generation
    config.
    """
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    found: dict[int, None] = {}
    for row in rows:
        labelled = row.example.labels[row.example.labels != IGNORED_LABEL].tolist()
        found.update(dict.fromkeys(token for token in labelled[-1:] if token in special))
    if tokenizer.eos_token_id is not None:
        found[int(tokenizer.eos_token_id)] = None
    return tuple(dict.fromkeys((*found, *known)))
