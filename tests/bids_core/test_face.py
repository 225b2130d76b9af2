"""What a notebook does with the library's face: select, look, slice, analyse, explain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import zarr

from bids_core import Selection, analyze, explain, select
from bids_core.errors import MatrixError, UserError

COLUMNS = [f"{task}-{number}" for task in ("math", "code") for number in range(3)]
TASKS = [name.split("-")[0] for name in COLUMNS]


@pytest.fixture(scope="module")
def frame():
    values = np.random.default_rng(0).normal(size=(80, 6))
    return pd.DataFrame(values, index=[f"row-{i}" for i in range(80)], columns=COLUMNS)


@pytest.fixture(scope="module")
def picks(frame):
    return select(frame, 12, tasks=dict(zip(COLUMNS, TASKS, strict=True)), sources=["a"] * 80)


def test_a_frame_keeps_its_names(frame, picks):
    table = picks.to_frame()
    assert table["row_id"].tolist() == [f"row-{row}" for row in picks.indices]
    assert table["winning_validation"].tolist() == [COLUMNS[c] for c in picks.winning_columns]
    assert table["winning_task"].tolist() == [TASKS[c] for c in picks.winning_columns]
    assert set(table["source"]) == {"a"}


def test_arrays_and_files_select_the_same(frame, picks, tmp_path):
    np.save(tmp_path / "m.npy", frame.to_numpy())
    zarr.save(str(tmp_path / "m.zarr"), frame.to_numpy())
    frame.rename_axis("row_id").reset_index().to_parquet(tmp_path / "m.parquet")
    given = [frame.to_numpy(), tmp_path / "m.npy", str(tmp_path / "m.zarr"),
             tmp_path / "m.parquet", frame.rename_axis("row_id").reset_index()]  # fmt: skip
    for form in given:
        np.testing.assert_array_equal(select(form, 12).indices, picks.indices)
    for form in given[3:]:
        assert select(form, 12).to_frame()["row_id"].tolist() == picks.to_frame()["row_id"].tolist()


def test_tasks_in_order_by_id_or_in_a_file(frame, picks, tmp_path):
    by_id = dict(zip(COLUMNS, TASKS, strict=True))
    pd.DataFrame({"validation_id": COLUMNS, "task": TASKS}).to_csv(tmp_path / "t.csv", index=False)
    backwards = pd.Series(by_id).iloc[::-1]
    for tasks in (TASKS, by_id, backwards, pd.Series(TASKS), str(tmp_path / "t.csv")):
        less = select(frame, 5, method="less", tasks=tasks)
        assert less.labels.tasks == tuple(TASKS)


def test_budgets_as_people_write_them(frame):
    for budget in (12, 0.15, "15%", "12"):
        assert len(select(frame, budget)) == 12


def test_it_shows_itself_in_few_words(frame, picks):
    assert repr(picks) == "<Selection: 12 of 80 rows, picked by bids (zscore)>"
    html = picks._repr_html_()
    assert "row-" in html
    assert "and 2 more" in html
    named = select(frame.rename(index={f"row-{picks[0].row}": "<script>"}), 3)
    assert "<script>" not in named._repr_html_()
    assert "80 rows x 6 validation instances: pool (80), bids (12)" in repr(analyze(frame, picks))


def test_slices_are_selections_at_smaller_budgets(frame, picks):
    smaller = picks[:5]
    assert isinstance(smaller, Selection)
    np.testing.assert_array_equal(smaller.indices, select(frame, 5).indices)
    assert [pick.rank for pick in picks] == list(range(1, 13))
    assert picks[-1].rank == 12
    assert picks[0].row_id == f"row-{picks.indices[0]}"
    assert picks[0].winning_task == TASKS[picks.winning_columns[0]]
    for part in (slice(2, 5), slice(None, None, 2), slice(0, 0)):
        with pytest.raises(MatrixError, match="begins with the best pick"):
            picks[part]
    with pytest.raises(IndexError, match=r"picks\[12\] is beyond the 12 picks"):
        picks[12]
    with pytest.raises(MatrixError, match=r"not picks\['row-1'\]"):
        picks["row-1"]


def test_analysis_and_explanation_know_what_the_selection_knows(frame, picks):
    found = analyze(frame, picks)
    assert found.tables["aid_tasks"]["task"].unique().tolist() == ["math", "code"]
    by_id = pd.Series(dict(zip(COLUMNS, TASKS, strict=True)))
    assert analyze(frame, picks, tasks=by_id, sources=pd.Series(["a"] * 80)).facts == found.facts
    assert "source" in set(found.tables["along_picks"]["kind"])
    why = explain(frame, picks, picks[3])
    assert (why.rank, why.row_id) == (4, picks[3].row_id)
    assert [task.task for task in why.tasks] == ["math", "code"]
    assert f"{why.row_id}: pick 4 of 12, worth" in str(why)
    assert explain(frame, picks, why.row_id) == why
    other = next(name for name in frame.index if name not in set(picks.to_frame()["row_id"]))
    assert "not among the 12 picks" in str(explain(frame, picks, other))


def test_a_random_selection_is_explained_with_its_own_seed(frame):
    picks = select(frame, 10, method="random", seed=7)
    others = replace(picks, seed=8)
    assert picks.seed == 7
    assert explain(frame, picks, picks[0]) != explain(frame, others, picks[0])


@pytest.mark.parametrize("by", [None, "winning_validation", "source"])
def test_figures(picks, by):
    figure = picks.plot(by=by)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert [axes.get_xlabel() for axes in figure.axes] == ["pick", "picks"]


def test_a_figure_of_many_groups_and_of_none(frame):
    many = select(np.random.default_rng(1).normal(size=(200, 40)), 100)
    labels = {text.get_text() for text in many.plot().legends[0].get_texts()}
    assert len(labels) == 9
    assert "others" in labels
    assert select(frame, 5, method="random").plot().legends == []
    assert len(analyze(frame, {"a": [1, 2], "b": [3]}).plot().axes) == 2


def test_figures_without_matplotlib_say_what_to_install(picks, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "bids_core.picture", raising=False)
    with pytest.raises(UserError, match=r'pip install "bids-select\[plot\]"'):
        picks.plot()


def test_wrong_arguments_are_one_clear_line(frame, picks):
    for call, message in (
        (lambda: select("nothing.npy", 3), "nothing.npy does not exist"),
        (lambda: select({"a": 1}, 3), r"`attribution` must be .* not \{'a': 1\} \(dict\)"),
        (lambda: select([[1, 2], [3]], 1), "its rows differ in length"),
        (lambda: select(frame.assign(x="a"), 3), "column 'x' of the frame does not hold numbers"),
        (lambda: select(frame, 3, tasks="math"), "`tasks` must be a list, .* or the path"),
        (lambda: select(frame, 3, tasks=7), "`tasks` must be a list, .* not 7"),
        (lambda: select(frame, 3, tasks={"math-0": "m"}), "has no entry for 'math-1' \\(5 of"),
        (lambda: select(frame, 3, tasks=["a"]), "1 tasks were given for 6"),
        (
            lambda: select(None, 1, method="bm25", texts="abc"),
            "`texts` must be a list, .* not 'abc'",
        ),
        (lambda: select(frame, 3, method=3), "`method` must be the name of a method or a funct"),
        (lambda: select(frame, 3, seed=-1), "`seed` must be from 0 to 4294967295, not -1"),
        (lambda: select(frame, 3, seed="a"), "`seed` must be an integer, not 'a'"),
        (lambda: select(frame, None), "budget None is not a number"),
        (lambda: select(frame, "many"), "budget 'many' is not a number: give a count"),
        (lambda: analyze(frame, "picks.csv"), "must be a Selection or a list of row indices"),
        (lambda: analyze(frame, [300]), "row 300 is outside the 80 rows"),
        (
            lambda: explain(frame, [1], 0),
            "`selection` must be a Selection returned by bids_core.select",
        ),
        (lambda: explain(frame, picks, "row-x"), "no row 'row-x'; the nearest are row-"),
        (lambda: explain(frame.iloc[:9], picks, 0), "made from 80 rows, but the matrix has 9"),
        (lambda: picks.plot(by="x"), "`by` must be one of winning_task"),
        (lambda: select(frame, 3).plot(by="source"), "has no source"),
    ):
        with pytest.raises(MatrixError, match=message):
            call()
