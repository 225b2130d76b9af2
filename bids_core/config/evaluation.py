"""Held-out evaluation."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, field_validator, model_validator

from bids_core.config.effects import Changes, Effect, NoEffect, Resolved
from bids_core.config.section import PositiveInt, Seconds, Section

_MODEL_SECTION: Final = {
    "pretrained", "tokenizer", "revision", "peft", "delta", "device", "dtype", "backend",
    "trust_remote_code", "lora_local_path", "enable_lora",
}  # fmt: skip


class GenerationConfig(Section):
    """How answers are generated: greedily, unless a temperature is given."""

    effects: ClassVar[tuple[Effect, ...]] = (Changes("evaluation"),)

    temperature: float = Field(default=0.0, ge=0.0)
    """Divisor of the logits before sampling; 0: always the most likely token. The authors of
    thinking models advise against 0 (Qwen recommends 0.6)."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Sample from the most likely tokens that together have this probability."""
    top_k: PositiveInt | None = None
    """Sample from this many of the most likely tokens; null: from all."""
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    """Sample from tokens with at least this fraction of the most likely token's probability."""
    repetition_penalty: float = Field(default=1.0, gt=0.0)
    """Penalty on the logits of tokens that already occur in the text; 1: none."""

    @property
    def draws(self) -> bool:
        """Whether tokens are sampled, so that a seed matters."""
        return self.temperature > 0

    @model_validator(mode="after")
    def _draws_need_a_temperature(self) -> GenerationConfig:
        if self.temperature == 0 and (self.top_p < 1 or self.top_k is not None or self.min_p > 0):
            msg = (
                "top_p, top_k and min_p have no effect at temperature 0; set a temperature above 0"
            )
            raise ValueError(msg)
        return self


class EvaluationConfig(Section):
    """Held-out evaluation: your own rows, and suites through lm-eval."""

    effects: ClassVar[tuple[Effect, ...]] = (Changes("suite"),)

    tokens_per_batch: Annotated[PositiveInt, NoEffect("only the speed")] = 4096
    """Padded tokens in one evaluation batch."""
    generation: GenerationConfig = GenerationConfig()
    """How answers to your own test rows are generated, unless the task sets it (suites are always
    greedy)."""
    thought_markers: Annotated[tuple[str, str] | None, Changes("evaluation")] = None
    """Beginning and end of a thought as the model writes them, if not one of the known markers
    (`<think>` and `</think>`, `[THINK]` and `[/THINK]`, GPT-OSS's channels). Only the text after a
    thought is scored."""
    zero_shot: Annotated[bool, NoEffect("which models are evaluated, not how")] = True
    """Also evaluate the base model without fine-tuning."""
    run_generated_code: Annotated[bool, NoEffect("without it, tasks that need it are refused")] = (
        False
    )
    """Run model-written code (metric `code`, HumanEval, MBPP) in a sandbox: no network, no files,
    limits on time and memory. Without this, coding tasks are refused."""
    code_seconds: Annotated[Seconds, Changes("evaluation", "suite")] = 10.0
    """Time limit for one generated program, in seconds."""
    suites: Annotated[
        tuple[Literal["bids7", "less3"], ...], Resolved("suite", by="the digest of each task")
    ] = ()
    """Standard benchmarks by name, as lm-eval defines them. bids7: HumanEval, MBPP, BBH, MMLU,
    GSM-Plus, MATH, IFEval; less3: MMLU 5-shot, TyDiQA 1-shot, BBH 3-shot."""
    suite_tasks: Annotated[
        tuple[str, ...] | None, Resolved("suite", by="the digest of each task")
    ] = None
    """Only these tasks of the suites (`bbh`, `mmlu`, ...); null: all of them."""
    suite_data: Annotated[str | None, Resolved("suite", by="the digest of each task")] = None
    """Folder with the suites' datasets, each a clone of its hub repository in a folder of the same
    name (`cais/mmlu`, `google/IFEval`); missing ones come from the hub or its cache."""
    suite_limit: Annotated[PositiveInt | None, Resolved("suite", by="the digest of each task")] = (
        None
    )
    """At most this many test rows of each lm-eval task (MMLU has 57 of them); null: all rows."""
    chat_prompts: bool = True
    """Apply the chat template to the suites' prompts, with few-shot examples as turns."""
    backend: Literal["hf", "vllm"] = "hf"
    """Backend of the suites: transformers, or vLLM if it is installed."""
    model_args: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further arguments of lm-eval's model class (`max_length: 4096`,
    `gpu_memory_utilization: 0.8`)."""

    @field_validator("model_args")
    @classmethod
    def _model_is_named_elsewhere(
        cls, values: dict[str, str | int | float | bool]
    ) -> dict[str, str | int | float | bool]:
        taken = sorted(values.keys() & _MODEL_SECTION)
        if taken:
            msg = f"{taken[0]!r} cannot be set here; it follows from the section `model`"
            raise ValueError(msg)
        return values
