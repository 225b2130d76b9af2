"""Ready-made settings as functions that return a whole configuration; YAML in `examples/recipes/`.

The papers' settings name public data sets on the Hugging Face hub. `COSTS` holds what the cost
model needs to estimate how long a recipe takes on the hardware it is meant for; row counts are the
data sets' own, mean lengths are assumptions and marked as such (docs/recipes.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bids_core.config import RunConfig
from bids_core.planning.cost import Counts, Speed, estimate_counts, memory_bytes, planned_speed
from bids_core.planning.footprint import ModelSize
from bids_core.planning.hardware import GPUS, PLANNED_SHARE

if TYPE_CHECKING:
    from collections.abc import Callable

    from bids_core.planning.cost import StageCost

_MMLU: Final = {
    "prompt": "{{ question }}\nA. {{ choices[0] }}\nB. {{ choices[1] }}\nC. {{ choices[2] }}\n"
    "D. {{ choices[3] }}\nAnswer:",
    "completion": "{{ 'ABCD'[answer] }}",
    "subtask": "subject",
}
_BBH_TASKS: Final = (
    "boolean_expressions", "causal_judgement", "date_understanding", "disambiguation_qa",
    "dyck_languages", "formal_fallacies", "geometric_shapes", "hyperbaton",
    "logical_deduction_five_objects", "logical_deduction_seven_objects",
    "logical_deduction_three_objects", "movie_recommendation", "multistep_arithmetic_two",
    "navigate", "object_counting", "penguins_in_a_table", "reasoning_about_colored_objects",
    "ruin_names", "salient_translation_error_detection", "snarks", "sports_understanding",
    "temporal_sequences", "tracking_shuffled_objects_five_objects",
    "tracking_shuffled_objects_seven_objects", "tracking_shuffled_objects_three_objects",
    "web_of_lies", "word_sorting",
)  # fmt: skip
_TYDIQA: Final = {
    "prompt": "Answer the question from the passage.\n\nPassage: {{ context }}\n\nQuestion: "
    "{{ question }}",
    "completion": "{{ answers.text[0] }}",
    "id": "id",
    "subtask": "{{ id.split('-')[0] }}",
}


def bids_paper(*, epochs: int = 2) -> RunConfig:
    """Return the BIDS paper's setting: Llama-3-8B on UltraInteract, 50 instances of seven tasks.

    Warmup on the whole pool. The paper trains on the picks for 2 epochs, 4 in the headline row.
    IFEval has prompts and checkers but no answers, so the instances for instruction following are
    written answers to instructions with checkable constraints.

    Args:
        epochs: of the fine-tuning.
    """
    fifty: dict[str, Any] = {"limit": 50, "sample_seed": 0}
    validation = [
        {"task": "humaneval", "capability": "coding", "path": "hf:openai/openai_humaneval",
         "split": "test", "mapping": {"prompt": "prompt", "completion": "canonical_solution",
                                      "id": "task_id"}},
        {"task": "mbpp", "capability": "coding", "path": "hf:google-research-datasets/mbpp:full",
         "split": "validation", "mapping": {"prompt": "{{ text }}\n\n{{ test_list[0] }}",
                                            "completion": "code", "id": "task_id"}},
        *_bbh("logic", limit=2),
        {"task": "mmlu", "capability": "knowledge", "path": "hf:cais/mmlu:all",
         "split": "validation", "mapping": _MMLU},
        {"task": "gsm_plus", "capability": "math", "path": "hf:qintongli/GSM-Plus",
         "split": "testmini", "mapping": {"prompt": "question", "completion": "solution"}},
        {"task": "math", "capability": "math", "path": "hf:EleutherAI/hendrycks_math:algebra",
         "split": "train", "mapping": {"prompt": "problem", "completion": "solution"}},
        {"task": "ifeval", "capability": "instruction_following",
         "path": "hf:allenai/tulu-3-sft-personas-instruction-following", "split": "train",
         "format": "messages"},
    ]  # fmt: skip
    return RunConfig.model_validate(
        {
            "name": "bids-paper",
            "model": {"path": "meta-llama/Meta-Llama-3-8B-Instruct", "dtype": "bfloat16"},
            "pool": [_ultra_interact()],
            "validation": [
                entry if "limit" in entry else {**entry, **fifty} for entry in validation
            ],
            "data": {"max_length": 2048, "overlap": "drop"},
            "lora": {"r": 128, "alpha": 512, "dropout": 0.1},
            "warmup": {"epochs": 4, "fraction": 1.0, "learning_rate": 2e-5, "batch_size": 128},
            "gradients": {"dim": 8192, "projection": "rademacher"},
            "selection": {"method": "bids", "compare": ["less", "random"], "budget": 0.15},
            "finetune": {"epochs": epochs, "learning_rate": 2e-5, "batch_size": 128},
            "evaluation": {"suites": ["bids7"], "run_generated_code": True},
        }
    )


def less_paper() -> RunConfig:
    """Return the LESS paper's setting: Llama-2-7B on Flan, CoT, Dolly and OASST, 5%.

    Warmup on 5% of the pool; instances of MMLU (57 subjects), TyDiQA (9 languages) and BBH. The
    base model has no chat template: set one with `model.chat_template`.
    """
    return RunConfig.model_validate(
        {
            "name": "less-paper",
            "model": {"path": "meta-llama/Llama-2-7b-chat-hf", "dtype": "bfloat16"},
            "pool": [{"path": "hf:princeton-nlp/less_data", "name": "less", "split": "train",
                      "format": "messages", "mapping": {"messages": "messages", "id": "id"}}],
            "validation": [
                {"task": "mmlu", "capability": "knowledge", "path": "hf:cais/mmlu:all",
                 "split": "dev", "mapping": _MMLU},
                {"task": "tydiqa", "capability": "multilingual",
                 "path": "hf:google-research-datasets/tydiqa:secondary_task",
                 "split": "train", "limit": 90, "sample_seed": 0, "mapping": _TYDIQA},
                *_bbh("reasoning", limit=3),
            ],
            "data": {"max_length": 2048, "overlap": "drop"},
            "lora": {"r": 128, "alpha": 512, "dropout": 0.1},
            "warmup": {"epochs": 4, "fraction": 0.05, "learning_rate": 2e-5, "batch_size": 128},
            "gradients": {"dim": 8192, "projection": "rademacher", "adam_mode": "less_code"},
            "selection": {"method": "less", "compare": ["bids", "random"], "budget": 0.05},
            "finetune": {"epochs": 4, "learning_rate": 2e-5, "batch_size": 128},
            "evaluation": {"suites": ["less3"]},
        }
    )  # fmt: skip


def qlora_24gb() -> RunConfig:
    """Return a setting for one GPU of 24 GB: the base weights in 4 bits, smaller adapters.

    It uses 50,000 random rows of UltraInteract instead of all, and the sparse projection and int8
    storage instead of the papers'.
    """
    paper = bids_paper()
    small: dict[str, Any] = {
        "name": "qlora-24gb",
        "model": {
            **paper.model.model_dump(mode="json"),
            "quantization": "4bit",
            "activation_checkpointing": True,
        },
        "pool": [{**_ultra_interact(), "limit": 50_000, "sample_seed": 0}],
        "data": {"max_length": 1024, "overlap": "drop"},
        "lora": {"r": 16, "alpha": 32, "dropout": 0.05},
        "warmup": {"epochs": 2, "fraction": 0.1, "learning_rate": 1e-4, "batch_size": 32,
                   "tokens_per_batch": 2048},
        "gradients": {"dim": 4096, "projection": "sjlt", "storage": "int8",
                      "tokens_per_batch": 1024},
        "finetune": {"epochs": 2, "learning_rate": 1e-4, "batch_size": 32,
                     "tokens_per_batch": 2048},
        "evaluation": {"suites": ["bids7"], "run_generated_code": True, "tokens_per_batch": 2048,
                       "suite_limit": 100},
    }  # fmt: skip
    return RunConfig.model_validate(paper.model_dump(mode="json") | small)


def cpu(*, data: Path = Path("examples/demo/data")) -> RunConfig:
    """Return the demo's setting: five small tasks, SmolLM2-135M-Instruct, minutes on two cores.

    Args:
        data: folder written by `make demo`.
    """
    capabilities = {
        "chain_sum": "math", "gcd": "math", "spell_backward": "language",
        "sentence_reordering": "language", "family_relationships": "logic",
    }  # fmt: skip
    longest = {"spell_backward": 10, "sentence_reordering": 14, "family_relationships": 6}
    folder = data.resolve()
    return RunConfig.model_validate(
        {
            "name": "cpu",
            "model": {"path": "bundled:smollm2-135m-instruct"},
            "pool": [{"path": str(folder / "pool/*.jsonl")}],
            "validation": [
                {"task": task, "capability": kind,
                 "path": str(folder / f"validation/{task}.jsonl")}
                for task, kind in capabilities.items()
            ],
            "test": [
                {"task": task, "capability": kind, "path": str(folder / f"test/{task}.jsonl"),
                 "max_new_tokens": longest.get(task, 8)}
                for task, kind in capabilities.items()
            ],
            "data": {"max_length": 192},
            "lora": {"r": 8, "alpha": 16, "dropout": 0.0},
            "warmup": {"epochs": 1, "fraction": 0.25, "learning_rate": 5e-4, "batch_size": 8},
            "gradients": {"dim": 4096},
            "selection": {"budget": 40, "compare": ["less", "random"]},
            "finetune": {"epochs": 4, "learning_rate": 1e-3, "batch_size": 8},
        }
    )  # fmt: skip


def _ultra_interact() -> dict[str, Any]:
    return {
        "path": "hf:openbmb/UltraInteract_sft",
        "name": "ultrainteract",
        "split": "train",
        "mapping": {"prompt": "instruction", "completion": "response", "id": "id"},
    }


def _bbh(capability: str, *, limit: int) -> list[dict[str, Any]]:
    """Return the subtasks of BBH as sources of one task."""
    return [
        {"task": "bbh", "capability": capability, "name": f"bbh-{name}", "split": "test",
         "path": f"hf:lukaemon/bbh:{name}", "limit": limit,
         "mapping": {"prompt": "input", "completion": "target", "subtask": f"{{{{ '{name}' }}}}"}}
        for name in _BBH_TASKS
    ]  # fmt: skip


RECIPES: Final[dict[str, Callable[[], RunConfig]]] = {
    "bids_paper": bids_paper,
    "less_paper": less_paper,
    "qlora_24gb": qlora_24gb,
    "cpu": cpu,
}
"""Recipes, by the name of their file in `examples/recipes/`."""


@dataclass(frozen=True, slots=True)
class Outlay:
    """The inputs to the cost estimate of a recipe.

    Args:
        hardware: in words.
        counts: rows, and tokens by assumed mean lengths.
        speed: planned.
        assumed: the assumptions in words.
    """

    hardware: str
    counts: Counts
    speed: Speed
    assumed: str

    def costs(self, config: RunConfig) -> list[StageCost]:
        """Return the cost of each stage."""
        return estimate_counts(config, self.counts, self.speed)

    def memory(self, config: RunConfig) -> int:
        """Return the memory of the stage that needs most, in bytes."""
        return memory_bytes(self.costs(config))


_BIDS7: Final = {"test_rows": 37_310, "test_tokens": 37_310 * 700, "generated": 5_900_000}
_A100: Final = GPUS["a100-80g"].flops
_RTX4090: Final = GPUS["rtx4090"].flops

_LLAMA3_8B: Final = ModelSize(
    n_parameters=8_030_000_000, n_trainable=109_051_904, model_bytes=2 * 8_030_000_000,
    hidden_size=4096, n_layers=32, intermediate_size=14_336, query_width=4096, key_width=1024,
    vocabulary=128_256, adapter_inputs=32 * 5 * 4096,  # of four layers, and the masks
)  # fmt: skip
_LLAMA2_7B: Final = ModelSize(
    n_parameters=6_738_000_000, n_trainable=134_217_728, model_bytes=2 * 6_738_000_000,
    hidden_size=4096, n_layers=32, intermediate_size=11_008, query_width=4096, key_width=4096,
    vocabulary=32_000, adapter_inputs=32 * 5 * 4096,  # of four layers, and the masks
)  # fmt: skip
_FOUR_BITS: Final = 0.72
"""Bytes per weight in 4 bits, with scales, and an embedding and head that are not quantised."""

COSTS: Final = {
    "bids_paper": Outlay(
        "one A100 of 80 GB",
        Counts(288_579, 288_579 * 700, 354, 354 * 400, **_BIDS7),
        planned_speed(_LLAMA3_8B, flops=_A100, utilisation=PLANNED_SHARE),
        "700 tokens per pool row, 400 per validation instance, 700 per test prompt",
    ),
    "less_paper": Outlay(
        "one A100 of 80 GB",
        Counts(270_679, 270_679 * 250, 456, 456 * 300, 25_628, 25_628 * 1100, 1_400_000),
        planned_speed(_LLAMA2_7B, flops=_A100, utilisation=PLANNED_SHARE),
        "250 tokens per pool row, 300 per validation instance, 1,100 per few-shot test prompt",
    ),
    "qlora_24gb": Outlay(
        "one RTX 4090 of 24 GB",
        Counts(50_000, 50_000 * 600, 354, 354 * 350, 9_900, 9_900 * 700, 2_000_000),
        planned_speed(
            replace(_LLAMA3_8B, n_trainable=13_631_488, checkpointing=True,
                    model_bytes=int(_FOUR_BITS * _LLAMA3_8B.n_parameters)),
            flops=_RTX4090, utilisation=0.2,
        ),
        "600 tokens per pool row (cut at 1,024), 350 per validation instance, 700 per test prompt; "
        "a fifth of the peak, because weights are dequantised from 4 bits and activations "
        "computed twice",
    ),
}  # fmt: skip
"""Cost inputs of the recipes that need a GPU; the CPU recipe was measured."""
