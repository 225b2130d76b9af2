"""lm-eval's Hugging Face model for the suites, with its tokenization and stop rules but our passes.

Prompts become the same token ids as in lm-eval's own class. But choices of one prompt are scored
after reading it once, batches are made by length, and finished rows leave the batch.

This module imports lm-eval (3.4 s); import it where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import (
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)

from bids_core.errors import ConfigError
from bids_core.evaluation.choices import choice_log_likelihoods
from bids_core.evaluation.generation import StopTexts, generate
from bids_core.evaluation.likelihood import log_likelihoods
from bids_core.evaluation.suites.quiet import offline_and_quiet
from bids_core.records import IGNORED_LABEL, TokenizedExample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lm_eval.api.instance import Instance
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bids_core.progress import Progress

    Request = tuple[tuple[str, str], list[int], list[int]]


class SuiteModel(HFLM):  # type: ignore[misc]  # lm-eval is untyped
    """lm-eval's Hugging Face model with faster passes.

    Args:
        model: causal language model, with or without adapters, on its device.
        tokenizer: its tokenizer.
        stop_ids: token ids that end an answer.
        tokens_per_batch: padded tokens in one forward pass.
        on_progress: called with (requests done, all).
        model_args: additional arguments of lm-eval's class.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        stop_ids: Sequence[int],
        tokens_per_batch: int,
        on_progress: Progress,
        **model_args: Any,
    ) -> None:
        with offline_and_quiet():  # lm-eval warns about models that are already loaded
            super().__init__(pretrained=model, tokenizer=tokenizer, backend="causal", **model_args)
        self._stop_ids = stop_ids
        self._tokens_per_batch = tokens_per_batch
        self._on_progress = on_progress

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[tuple[float, bool]]:
        """Score each continuation, without lm-eval's progress bar."""
        del disable_tqdm
        scored: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return scored

    def _loglikelihood_tokens(
        self,
        requests: list[Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        """Score continuations; a context that fits is read once for all of its own."""
        del disable_tqdm, override_bs
        groups: dict[tuple[int, ...], list[int]] = {}
        alone: list[int] = []
        for place, (_, context, continuation) in enumerate(requests):
            fits = len(context) + len(continuation) <= self.max_length + 1
            if fits and len(context) > 1:
                groups.setdefault(tuple(context), []).append(place)
            else:
                alone.append(place)
        examples = [self._example(request) for request in requests]
        found: dict[int, tuple[float, bool]] = {}
        grouped = choice_log_likelihoods(
            self.model,
            [[examples[place] for place in places] for places in groups.values()],
            tokens_per_batch=self._tokens_per_batch,
            on_progress=lambda done, _: self._on_progress(done, len(requests)),
        )
        for places, scores in zip(groups.values(), grouped, strict=True):
            pairs = [(score.log_likelihood, score.is_greedy) for score in scores]
            found.update(zip(places, pairs, strict=True))
        rest = log_likelihoods(
            self.model,
            [examples[place] for place in alone],
            tokens_per_batch=self._tokens_per_batch,
            on_progress=lambda done, _: self._on_progress(len(found) + done, len(requests)),
        )
        pairs = [(score.log_likelihood, score.is_greedy) for score in rest]
        found.update(zip(alone, pairs, strict=True))
        return [found[place] for place in range(len(requests))]

    def _example(self, request: Request) -> TokenizedExample:
        """Return the tokens of a request, truncated on the left as in lm-eval."""
        _, context, continuation = request
        ids = (context + continuation)[-(self.max_length + 1) :]
        labels = [IGNORED_LABEL] * (len(ids) - len(continuation)) + continuation
        return TokenizedExample(
            "request", np.asarray(ids, dtype=np.int32), np.asarray(labels, dtype=np.int32)
        )

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Answer each prompt greedily."""
        del disable_tqdm
        end = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        settings = [normalize_gen_kwargs(r.args[1], self.max_gen_toks) for r in requests]
        if any(one["do_sample"] for one in settings):
            msg = f"task {requests[0].task_name!r} samples its answers; only greedy ones work"
            raise ConfigError(msg)
        stops = [handle_stop_sequences(list(one["until"]), eos=end) for one in settings]
        limits = [int(one["max_gen_toks"]) for one in settings]
        answers = generate(
            self.model,
            [
                self._prompt(request.args[0], room=limit)
                for request, limit in zip(requests, limits, strict=True)
            ],
            max_new_tokens=limits,
            stop_ids=self._stop_ids,
            tokens_per_batch=self._tokens_per_batch,
            stop_texts=StopTexts(stops, self._decode),
            on_progress=self._on_progress,
        )
        return [
            str(postprocess_generated_text(self._decode(answer.tokens), stop, self.think_end_token))
            for answer, stop in zip(answers, stops, strict=True)
        ]

    def _prompt(self, text: str, *, room: int) -> TokenizedExample:
        space = self.max_length - room
        if space < 1:
            msg = (
                f"the suites generate up to {room} tokens, but the model takes {self.max_length} in"
                " all; set evaluation.model_args.max_length, or choose tasks with shorter answers"
            )
            raise ConfigError(msg)
        ids = self.tok_encode(text, left_truncate_len=space)
        return TokenizedExample(
            "request",
            np.asarray(ids, dtype=np.int32),
            np.full(len(ids), IGNORED_LABEL, dtype=np.int32),
        )

    def _decode(self, tokens: list[int]) -> str:
        return str(self.tok_decode(tokens))
