"""Scores the user's own test tasks: asks each row, judges the answer, averages the row scores.

All choices of all tasks are scored together, then all answers are generated, so that batches are
full. The result equals that of lm-eval's evaluator on the same requests (a test compares them): the
score is the mean over rows, its standard error the sample standard deviation divided by the square
root of their number.

Answers cut off inside a thought are not judged (see `thoughts`): the score covers only the others,
and the share of unjudged ones is reported.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bids_core.evaluation.answers import compile_pattern, extract_answer
from bids_core.evaluation.choices import choice_log_likelihoods
from bids_core.evaluation.generation import StopTexts, cut_at, generate
from bids_core.evaluation.metrics import METRICS
from bids_core.evaluation.sampling import Choice
from bids_core.evaluation.thoughts import MARKERS, find_thought

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bids_core.config import GenerationConfig, TestTask
    from bids_core.evaluation.generation import Answer
    from bids_core.evaluation.judges import Judge
    from bids_core.evaluation.likelihood import Scored
    from bids_core.evaluation.rows import EvaluationRow
    from bids_core.progress import Progress

logger = logging.getLogger(__name__)

UNFINISHED: Final = "unfinished_thoughts"
"""Metric name for the share of a task's answers that were cut off inside a thought."""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The results of one task; lists have one entry per row, in row order.

    Args:
        score: mean of the row scores; NaN if no answer could be judged.
        stderr: its standard error; NaN for a single row.
        more: other metrics of the task.
        row_scores: score of each row, from 0 to 1; NaN for an answer cut off inside a thought.
        predictions: the answer; None if the answer pattern did not match, or it was not judged.
        generations: the whole generated text; None for multiple choice.
        references: score of the reference answer.
    """

    score: float
    stderr: float
    more: dict[str, float]
    row_scores: list[float]
    predictions: list[str | None]
    generations: list[str | None]
    references: list[Scored]


@dataclass(frozen=True, slots=True)
class Asking:
    """How answers are generated.

    Args:
        stop_ids: token ids that end an answer.
        tokens_per_batch: padded tokens in one forward pass.
        generation: settings for tasks without their own.
        seed: seed for sampling, if tokens are sampled.
        thought_markers: beginning and end of a thought, if not one of the known markers.
    """

    stop_ids: Sequence[int]
    tokens_per_batch: int
    generation: GenerationConfig
    seed: int = 0
    thought_markers: tuple[str, str] | None = None

    @property
    def markers(self) -> tuple[tuple[str, str], ...]:
        """Beginnings and ends of thoughts."""
        return MARKERS if self.thought_markers is None else (self.thought_markers, *MARKERS)


def run_tasks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[TestTask],
    rows: Mapping[str, Sequence[EvaluationRow]],
    *,
    asking: Asking,
    on_progress: Progress,
    judges: Mapping[str, Judge],
) -> dict[str, TaskResult]:
    """Ask all rows of all tasks, and score the answers.

    Args:
        model: in evaluation mode, on its device.
        tokenizer: its tokenizer, which is not changed.
        tasks: the tasks to score.
        rows: test rows of each task.
        asking: how answers are generated.
        on_progress: called for each kind of request with (requests done, all).
        judges: judges of the generative tasks, by task.

    Returns:
        The result of each task, by name.
    """
    kinds = {task.task: METRICS[task.metric].asks == "choice" for task in tasks}
    found: dict[str, TaskResult] = {}
    for is_choice in dict.fromkeys(kinds.values()):  # in the order of the tasks
        chosen = [task for task in tasks if kinds[task.task] == is_choice]
        if is_choice:
            found |= _choose(model, chosen, rows, asking, on_progress)
        else:
            found |= _write(model, tokenizer, chosen, rows, asking, on_progress, judges)
    return {task.task: found[task.task] for task in tasks}


def _choose(
    model: PreTrainedModel,
    tasks: Sequence[TestTask],
    rows: Mapping[str, Sequence[EvaluationRow]],
    asking: Asking,
    on_progress: Progress,
) -> dict[str, TaskResult]:
    """Take the most likely choice of each row."""
    asked = [row for task in tasks for row in rows[task.task]]
    scored = iter(
        choice_log_likelihoods(
            model,
            [row.choice_examples for row in asked],
            tokens_per_batch=asking.tokens_per_batch,
            on_progress=on_progress,
        )
    )
    found = {}
    for task in tasks:
        predictions, scores, references = [], [], []
        for row in rows[task.task]:
            group = next(scored)
            best = int(np.argmax([choice.log_likelihood for choice in group]))
            predictions.append(row.choices[best])
            scores.append(float(row.choices[best] == row.reference))
            references.append(group[row.choices.index(row.reference)])
        found[task.task] = TaskResult(
            *_mean(scores), {}, scores, [*predictions], [None] * len(scores), references
        )
    return found


def _write(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[TestTask],
    rows: Mapping[str, Sequence[EvaluationRow]],
    asking: Asking,
    on_progress: Progress,
    judges: Mapping[str, Judge],
) -> dict[str, TaskResult]:
    """Generate an answer to each row, and judge it."""
    asked = [(task, row) for task in tasks for row in rows[task.task]]
    texts = [_Text(tokenizer, task, row, asking.markers) for task, row in asked]
    choices = [
        Choice(task.generation or asking.generation, asking.seed, row.row_id) for task, row in asked
    ]
    answers = generate(
        model,
        [row.last for _, row in asked],
        max_new_tokens=[task.max_new_tokens for task, _ in asked],
        stop_ids=asking.stop_ids,
        tokens_per_batch=asking.tokens_per_batch,
        stop_texts=StopTexts(
            [task.stop for task, _ in asked],
            lambda tokens: str(tokenizer.decode(tokens, skip_special_tokens=True)),
            lambda index, tokens: texts[index].in_thought(tokens),
        ),
        choices=None if all(choice.is_plain for choice in choices) else choices,
        on_progress=on_progress,
    )
    given = iter(zip(texts, answers, strict=True))
    found = {}
    for task in tasks:
        mine = [next(given) for _ in rows[task.task]]
        found[task.task] = _judged(task, rows[task.task], mine, judges[task.task])
    return found


@dataclass(frozen=True, slots=True)
class _Text:
    """Decodes the answer to one row."""

    tokenizer: PreTrainedTokenizerBase
    task: TestTask
    row: EvaluationRow
    markers: Sequence[tuple[str, str]]

    def in_thought(self, tokens: list[int]) -> bool:
        """Return whether the answer so far is still inside a thought."""
        thought = find_thought(
            tokens, self._decode, prompt=self.row.prompt_text, markers=self.markers
        )
        return thought is not None and thought.is_open

    def read(self, answer: Answer) -> tuple[str, str | None]:
        """Return the whole text, and the part to judge; None if it was cut off inside a thought."""
        text = self._decode(answer.tokens, True)
        plain = cut_at(text, self.task.stop).lstrip()
        if self.row.opening and plain.startswith(self.row.opening):
            plain = plain.removeprefix(self.row.opening)
            return plain, plain
        thought = find_thought(
            answer.tokens, self._decode, prompt=self.row.prompt_text, markers=self.markers
        )
        if thought is None:
            return plain, plain
        if thought.is_open:
            return text, plain if answer.ended else None
        behind = self._decode(answer.tokens[thought.n_tokens :], True)
        return text, cut_at(behind, self.task.stop).lstrip()

    def _decode(self, tokens: list[int], skip_special: bool) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=skip_special))


def _judged(
    task: TestTask,
    rows: Sequence[EvaluationRow],
    answers: Sequence[tuple[_Text, Answer]],
    judge: Judge,
) -> TaskResult:
    metric, pattern = METRICS[task.metric].main, compile_pattern(task)
    generations, predictions, scores = [], [], []
    metrics: list[dict[str, Any]] = []
    for row, (reader, answer) in zip(rows, answers, strict=True):
        whole, judged = reader.read(answer)
        generations.append(whole)
        predictions.append(None if judged is None else extract_answer(judged, pattern))
        if judged is not None:
            metrics.append(judge(row, judged))
        scores.append(math.nan if judged is None else float(metrics[-1][metric]))
    score, stderr = _mean([float(found[metric]) for found in metrics])
    more = _more(metrics, metric)
    if unfinished := len(rows) - len(metrics):
        more[UNFINISHED] = unfinished / len(rows)
        _warn_of_unfinished(task, unfinished, len(rows))
    references = [answer.reference for _, answer in answers]
    return TaskResult(score, stderr, more, scores, predictions, [*generations], references)


def _warn_of_unfinished(task: TestTask, unfinished: int, total: int) -> None:
    logger.warning(
        "test task %r: %d of %d answers (%.0f%%) ended inside a thought, at max_new_tokens "
        "%d or a stop text; they are not judged, and the score covers only the others. Raise "
        "max_new_tokens, or make the model answer without thinking",
        task.task, unfinished, total, 100 * unfinished / total, task.max_new_tokens,
    )  # fmt: skip


def _more(metrics: Sequence[Mapping[str, Any]], main: str) -> dict[str, float]:
    """Return the task's other metrics: means over rows, or over the instructions of all rows."""
    found = {}
    for name in metrics[0] if metrics else ():
        values = [row[name] for row in metrics]
        if name != main:
            flat = [
                one for value in values for one in (value if isinstance(value, list) else [value])
            ]
            found[name] = sum(map(float, flat)) / len(flat)
    return found


def _mean(scores: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error; NaN where there are too few scores."""
    if not scores:
        return math.nan, math.nan
    mean = sum(scores) / len(scores)
    if len(scores) == 1:
        return mean, math.nan
    squares = sum((score - mean) ** 2 for score in scores)
    return mean, math.sqrt(squares / (len(scores) - 1)) / math.sqrt(len(scores))
