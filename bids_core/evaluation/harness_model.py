"""lm-eval's Hugging Face model, with the two forward passes replaced by ours.

This module imports lm-eval (3.4 s); import it where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lm_eval.models.huggingface import HFLM

from bids_core.evaluation.choices import choice_log_likelihoods
from bids_core.evaluation.generation import StopTexts, cut_at, generate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lm_eval.api.instance import Instance
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bids_core.evaluation.likelihood import Scored
    from bids_core.evaluation.rows import EvaluationRow
    from bids_core.progress import Progress


class RowModel(HFLM):  # type: ignore[misc]  # lm-eval is untyped
    """lm-eval's Hugging Face model, with forward passes over our rows' own token ids.

    Args:
        model: causal language model, with or without adapters, on its device.
        tokenizer: its tokenizer.
        rows: test rows of each task; a request says which one it is about.
        stop_ids: token ids that end an answer.
        tokens_per_batch: padded tokens of one forward pass.
        on_progress: called with (requests done, all).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        rows: Mapping[str, Sequence[EvaluationRow]],
        stop_ids: Sequence[int],
        tokens_per_batch: int,
        on_progress: Progress,
    ) -> None:
        super().__init__(pretrained=model, tokenizer=tokenizer, backend="causal")
        self._rows = rows
        self._stop_ids = stop_ids
        self._tokens_per_batch = tokens_per_batch
        self._on_progress = on_progress
        self.references: dict[tuple[str, int], Scored] = {}
        """Score of the reference answer, by task and place of the row; filled on the way."""

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[tuple[float, bool]]:
        """Score each choice after its prompt."""
        del disable_tqdm
        by_row: dict[tuple[str, int], list[int]] = {}
        for place, request in enumerate(requests):
            by_row.setdefault((request.task_name, request.doc["index"]), []).append(place)
        groups = [
            tuple(self._row(requests[p]).choice_examples[requests[p].idx] for p in places)
            for places in by_row.values()
        ]
        scored = choice_log_likelihoods(
            self.model,
            groups,
            tokens_per_batch=self._tokens_per_batch,
            on_progress=self._on_progress,
        )
        found: dict[int, tuple[float, bool]] = {}
        for (key, places), group in zip(by_row.items(), scored, strict=True):
            row = self._row(requests[places[0]])
            asked = [row.choices[requests[place].idx] for place in places]
            self.references[key] = group[asked.index(row.reference)]
            pairs = [(choice.log_likelihood, choice.is_greedy) for choice in group]
            found.update(zip(places, pairs, strict=True))
        return [found[place] for place in range(len(requests))]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Answer each prompt greedily."""
        del disable_tqdm
        rows = [self._row(request) for request in requests]
        answers = generate(
            self.model,
            [row.last for row in rows],
            max_new_tokens=[int(request.args[1]["max_gen_toks"]) for request in requests],
            stop_ids=self._stop_ids,
            tokens_per_batch=self._tokens_per_batch,
            stop_texts=StopTexts([request.args[1]["until"] for request in requests], self._decode),
            on_progress=self._on_progress,
        )
        texts = []
        for request, row, answer in zip(requests, rows, answers, strict=True):
            self.references[request.task_name, request.doc["index"]] = answer.reference
            text = cut_at(self._decode(answer.tokens), request.args[1]["until"])
            texts.append(text.lstrip().removeprefix(row.opening))
        return texts

    def _decode(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))

    def _row(self, request: Instance) -> EvaluationRow:
        row: EvaluationRow = self._rows[request.task_name][request.doc["index"]]
        return row
