"""The card of a selected subset (`README.md`): what it is, its sources, how it was chosen.

Its YAML header is the Hugging Face hub's, and `datasets.load_dataset(FOLDER)` reads it too: every
method is a separate configuration, and the main method is the default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from huggingface_hub import DatasetCardData

from bids_core.publishing.card import card, table
from bids_core.report.glossary import CITATIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bids_core.config import RunConfig

_SIZES: Final = (
    (1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)  # fmt: skip


def dataset_card(
    config: RunConfig,
    *,
    sources: Mapping[str, Mapping[str, int]],
    pool: Mapping[str, int],
    tokens: Mapping[str, int],
    versions: Mapping[str, str],
) -> str:
    """Return the card in Markdown.

    Args:
        config: of the run.
        sources: rows selected by each method from each source, the main method first.
        pool: rows of the pool by source.
        tokens: tokens of each method's rows, with the model's own tokenizer.
        versions: of the software.
    """
    main = config.selection.main
    n_rows, n_pool = sum(sources[main].values()), sum(pool.values())
    parts = [
        f"# {config.name}: {n_rows:,} of {n_pool:,} instruction examples, selected by {main}",
        "Selected for balanced learning of these tasks. The influence of every example was "
        "measured on their validation instances: "
        + ", ".join(f"{v.task} ({v.capability})" for v in _validation(config))
        + ". Rows are in pick order, best first.",
        "## Rows",
        "`messages`: the conversation (role, content); `tools`: the assistant's tools, if "
        "any; `row_id`, `source`: origin of the row; `rank`: pick order, from 1; and any "
        "further columns of the rows, unchanged.",
        table(
            ["source", "pool", *sources],
            [[s, f"{n:,}", *(f"{by.get(s, 0):,}" for by in sources.values())]
             for s, n in pool.items()]
            + [["total", f"{n_pool:,}", *(f"{sum(by.values()):,}" for by in sources.values())],
               ["tokens", "", *(f"{tokens[name]:,}" for name in sources)]],
        ),
        "## How it was selected",
        _method(config, versions),
        "## Loading it",
        '```python\nfrom datasets import load_dataset\n\nrows = load_dataset("PATH OR HUB NAME", '
        f'"{main}", split="train")\n```',
        "## Licence",
        "The licences of the sources above apply; the selection adds neither rights nor "
        "restrictions. Check the sources' terms before you share it.",
        "## Citation",
        f"```bibtex\n{CITATIONS.strip()}\n```",
    ]  # fmt: skip
    return card(_header(main, list(sources), n_rows), parts)


def _header(main: str, methods: list[str], n_rows: int) -> DatasetCardData:
    return DatasetCardData(
        task_categories=["text-generation"],
        tags=["instruction-tuning", "data-selection", "bids"],
        size_categories=[next((name for top, name in _SIZES if n_rows < top), "n>10M")],
        configs=[
            {
                "config_name": method,
                "data_files": f"{method}.parquet",
                **({"default": True} if method == main else {}),
            }
            for method in methods
        ],
    )


def _validation(config: RunConfig) -> list[Any]:
    return list({entry.task: entry for entry in config.validation}.values())


def _method(config: RunConfig, versions: Mapping[str, str]) -> str:
    gradients, warmup, model = config.gradients, config.warmup, config.model
    rows: list[list[Any]] = [
        ["method", config.selection.main],
        ["budget", config.selection.budget],
        ["normalization", config.selection.normalization],
        ["model", model.path + (f"@{model.revision}" if model.revision else "")],
        ["warmup", "checkpoints of an earlier training" if warmup.checkpoints else
                   f"{warmup.epochs} epochs on {warmup.fraction:g} of the pool, learning rate "
                   f"{warmup.learning_rate:g}"],
        ["gradient features", f"{gradients.train_feature}, {gradients.projection} projection to "
                              f"{gradients.dim:,}"],
        ["seed", config.seed],
        ["bids-select", versions.get("bids-select", "")],
    ]  # fmt: skip
    return table(["what", "value"], rows)
