import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from bids_core.diagnostics.analysis import analyze
from bids_core.diagnostics.influence import mean_difference
from bids_core.formatting import number, percent
from bids_core.progress import duration
from bids_core.report.data import data_section
from bids_core.report.health import gradients_section, warmup_section
from bids_core.report.influence import distributions, influence_section
from bids_core.report.picks import picks_section
from bids_core.report.scores import scores_section
from bids_core.report.stability import stability_section
from bids_core.report.texts import conversation, cut


def sets_of(inputs):
    places = {row: index for index, row in enumerate(inputs.row_ids)}
    return {
        "pool": None,
        "bids": np.array([places[row] for row in inputs.selections["bids"]["row_id"]]),
    }


def test_distributions_equal_the_definition(inputs):
    sets = sets_of(inputs)
    found = distributions(inputs, sets)
    matrix = inputs.attribution.astype(np.float64)
    z = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)
    np.testing.assert_allclose(found.raw["pool"], matrix.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(found.raw["bids"], matrix[sets["bids"]].mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(found.normalised["bids"], z[sets["bids"]].mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(found.normalised["pool"], 0, atol=1e-9)


def test_a_column_without_spread_is_left_out_of_the_normalised(inputs):
    matrix = inputs.attribution.copy()
    matrix[:, 2] = 1.0
    changed = replace(inputs, attribution=matrix)
    found = distributions(changed, sets_of(changed))
    assert found.usable.tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 9]
    assert np.isfinite(found.normalised["bids"]).all()


def test_the_difference_between_tasks_is_the_analysis_own(inputs):
    """One figure, computed once: mean absolute difference of z-scored AID between tasks."""
    section = influence_section(inputs)
    matrix = inputs.attribution.astype(np.float64)
    z = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)
    for line, method in zip(section["balance"].lines, inputs.selections, strict=True):
        rows = [int(row.partition(":")[2]) for row in inputs.selections[method]["row_id"]]
        means = [z[rows][:, columns].mean() for columns in (slice(0, 5), slice(5, 10))]
        _, gap, *shown = [cell["value"] for cell in line.cells]
        assert shown == [number(mean, 2) for mean in means]
        assert gap == number(abs(means[0] - means[1]), 2)
        found = analyze(inputs.attribution, {method: np.array(rows)}, tasks=inputs.tasks)
        assert gap == number(found.facts["imbalance"][method], 2)


def test_difference_between_tasks_is_the_mean_over_pairs():
    means = [2.0, 5.0, 10.0]
    pairs = [abs(x - y) for x, y in combinations(means, 2)]
    assert mean_difference(means) == pytest.approx(sum(pairs) / 3)
    assert math.isnan(mean_difference([1.0]))


def test_frequencies_add_up(inputs):
    section = influence_section(inputs)
    for table in section["frequencies"]:
        assert [line.title.small for line in table.lines] == ["40 examples", *["8 examples"] * 3]
        for line, n in zip(table.lines, (40, 8, 8, 8), strict=True):
            assert sum(cell["count"] for cell in line.cells) == n
            assert sum(cell["share"] for cell in line.cells) == pytest.approx(1.0)


def test_picks_keep_their_order_and_winners(inputs):
    section = picks_section(inputs)
    picks = inputs.selections["bids"]
    rows = section["browse"]["rows"]
    assert [row["rank"] for row in rows] == list(range(1, 9))
    assert [row["winner"] for row in rows] == picks["winning_validation"].tolist()
    grid = section["sources"]["grid"]
    place = [title.name for title in grid.columns].index("BIDS")
    assert sum(line.cells[place]["count"] for line in grid.lines) == 8


def test_agreement_counts_shared_picks(inputs):
    main = set(inputs.selections["bids"]["row_id"])
    grid = picks_section(inputs)["agreement"]
    place = [title.name for title in grid.columns].index("LESS")
    assert grid.lines[0].cells[place]["count"] == len(
        main & set(inputs.selections["less"]["row_id"])
    )
    assert "(chance: 20.0%)" in grid.caption  # 8 of 40


def test_conversation_is_cut_not_dropped():
    import json

    turns = [
        {"role": "user", "content": "q" * 5000},
        {"role": "assistant", "content": "a\nb"},
    ]
    found = conversation(json.dumps(turns))
    assert [turn["role"] for turn in found["turns"]] == ["user", "assistant"]
    assert found["turns"][0]["content"].endswith("\N{HORIZONTAL ELLIPSIS}")
    assert found["turns"][1]["content"] == "a\nb"
    assert found["answer"] == "a b"
    assert conversation(None) is None
    assert cut("abc", 3) == "abc"


def test_warmup_means_by_epoch(full_inputs):
    section = warmup_section(full_inputs)
    assert [c["mean"] for c in section["checkpoints"]] == [1.75, 0.95]
    assert [c["steps"] for c in section["checkpoints"]] == [2, 2]
    assert section["fell"] is True


def test_shards_of_a_checkpoint_are_weighed_by_their_rows(full_inputs):
    shards = [
        {"checkpoint": 1, "split": "train", "rows": 30, "mean_loss": 1.0, "compute_seconds": 1.0,
         "eps_dominated_share": 0.0},
        {"checkpoint": 1, "split": "train", "rows": 10, "mean_loss": 2.0, "compute_seconds": 1.0,
         "eps_dominated_share": 1.0},
    ]  # fmt: skip
    section = gradients_section(replace(full_inputs, gradients=shards))
    assert len(section["lines"]) == 1
    line = section["lines"][0]
    assert (line["rows"], line["loss"], line["eps"], line["speed"]) == (40, "1.250", 0.25, "20.0")
    assert section["eps"] == "25.0%"
    assert section["eps_is_high"] is False


def test_rejects_are_counted_by_reason_with_few_examples(full_inputs):
    section = data_section(full_inputs)
    assert section["rejects"][0]["count"] == 5
    assert len(section["rejects"][0]["examples"]) == 3
    assert [split["name"] for split in section["splits"]] == [
        "training pool",
        "validation instances",
    ]


def test_formats():
    assert percent(0.1234) == "12.3%"
    assert percent(float("nan")) == "\N{EN DASH}"
    assert number(-1.5, 1) == "\N{MINUS SIGN}1.5"
    assert number(-0.0004) == "0.000"
    assert [duration(s) for s in (0.44, 12.4, 200, 7500)] == [
        "0.4 s",
        "12 s",
        "3 min 20 s",
        "2 h 05 min",
    ]


def test_missing_names_of_pandas_are_none(inputs):
    picks = inputs.selections["random"]
    assert picks["winning_task"].isna().all()
    parquet_like = picks.astype({"winning_task": "object", "winning_validation": "object"})
    for frame in (
        picks,
        parquet_like.assign(winning_task=np.nan),
        parquet_like.assign(winning_task=pd.NA),
    ):
        section = picks_section(replace(inputs, selections={"random": frame}, main_method="random"))
        assert not section["browse"]["has_winners"]
        assert section["by_task"] is None


def test_firmness_shows_what_was_looked_into(inputs):
    assert stability_section(inputs) is None
    tables = {
        "checkpoint_agreement": pd.DataFrame(
            {"first": [0], "second": [1], "correlation": [0.9], "rank_correlation": [0.4],
             "top_shared": [0.62]}
        ),
        "without_instance": pd.DataFrame(
            {"left_out": [f"v{i}" for i in range(30)], "columns": 1, "kept": range(30),
             "share_kept": np.arange(30) / 30, "jaccard": 0.5}
        ),
        "near_duplicates": pd.DataFrame({"set": ["bids", "bids"], "first": [1, 2]}),
    }  # fmt: skip
    section = stability_section(replace(inputs, tables=tables))
    assert section["weak"]
    assert section["agreement"][0]["pair"] == "1 and 2"
    (table,) = section["left_out"]
    assert (table["total"], table["shown"], table["lowest"]) == (30, 10, "0%")
    assert [line["name"] for line in table["lines"]] == [f"v{i}" for i in range(10)]
    assert section["duplicates"][0]["pairs"] == "2"


def test_checkpoints_are_numbered_from_one_for_people(inputs):
    table = pd.DataFrame({"left_out": [0, 1], "weight": 0.5, "kept": 7, "share_kept": 0.7})
    section = stability_section(replace(inputs, tables={"without_checkpoint": table}))
    assert [line["name"] for line in section["left_out"][0]["lines"]] == ["1", "2"]
    assert not section["weak"]


def test_tasks_of_suites_have_plain_metrics_and_no_empty_losses(inputs, make_scores, scored):
    scores = make_scores(zero_shot=(0.1, 0.2), bids=(0.5, 0.6))
    quiz = scores["task"] == "quiz"
    scores.loc[quiz, ["metric", "answer_loss", "answer_loss_stderr"]] = ["acc,none", None, None]
    found = scores_section(replace(inputs, **scored(scores)))
    assert [row["task"] for row in found["losses"]] == ["sums"]
    assert found["rows"][1]["metric"] == "accuracy"
    scores[["answer_loss", "answer_loss_stderr"]] = math.nan
    assert scores_section(replace(inputs, **scored(scores)))["losses"] == []


def test_scores_without_their_rows_are_refused_not_left_out(inputs):
    with pytest.raises(ValueError, match="needs the comparison"):
        scores_section(replace(inputs, comparison=None))


@pytest.mark.parametrize("tasks", [["quiz"], ["quiz", "sums"]])
def test_a_task_with_answers_cut_off_in_a_thought_counts_for_no_method(
    inputs, make_scores, scored, tasks
):
    scores = make_scores(zero_shot=(0.1, 0.2), bids=(0.5, 0.6))
    unjudged = scores["task"].isin(tasks) & (scores["method"] == "zero_shot")
    scores.loc[unjudged, ["score", "stderr"]] = math.nan
    found = scores_section(replace(inputs, **scored(scores)))
    assert sorted(found["unjudged"]) == tasks
    assert [row["task"] for row in found["rows"]] == [t for t in ("sums",) if t not in tasks]
    assert [row["task"] for row in found["losses"]] == ["sums", "quiz"]
