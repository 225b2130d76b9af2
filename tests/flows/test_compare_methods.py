"""A comparison on a tiny model: shared stages, nested budgets, failed cells, resume, transfer."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from conftest import CHAT_TEMPLATE, build_llama
from tiny_project import Recorder

import flows.cell_queue as module
from bids_core.config.load import load_config
from bids_core.errors import BidsError, ConfigError
from flows.compare_methods import compare_methods
from flows.select_data import select_data
from tasks import finetune
from tasks.cells import plan_cells
from tasks.comparison import CellsFailedError
from tasks.runtime.progress import reporting
from tasks.runtime.stage import stage_task
from tasks.selection import read_selection

NOT_TIMED = ("prepare", "attribution", "selection")


class Planned(Recorder):
    """Also records what was to come, and what came."""

    def __init__(self):
        super().__init__()
        self.work, self.ended = None, set()

    def expect(self, work):
        self.work = work

    def end(self, label, *, seconds, cached):
        super().end(label, seconds=seconds, cached=cached)
        self.ended.add(label)


def run(project, methods=("bids", "random"), budgets=(4, 0.25), seeds=(0, 1), overrides=()):
    recorder = Planned()
    config = load_config(project / "bids.yaml", overrides)
    with reporting(recorder):
        try:
            result = compare_methods(config, methods, budgets, seeds)
        except CellsFailedError as error:
            return error.result, recorder
    return result, recorder


def picked(cell):
    return read_selection(cell.selection)["row_id"].tolist()


@pytest.mark.usefixtures("prefect_server")
def test_a_comparison_and_the_same_one_again(project):
    result, first = run(project)
    assert first.computed == {"prepare": 1, "warmup": 1, "gradients": 12, "attribution": 1,
                              "selection": 6, "finetune": 8, "evaluation": 9,
                              "comparison": 1}  # fmt: skip
    timed = {label for label in first.ended if label.split()[0] not in NOT_TIMED}
    assert set(first.work.tokens) | set(first.work.seconds) == timed
    tokens = first.work.tokens
    assert tokens["finetune bids 8 rows seed 0"] == 2 * tokens["finetune random 4 rows seed 1"] > 0
    cells = {(cell.method, cell.n_rows, cell.seed): cell for cell in result.cells}
    assert set(cells) == {("zero_shot", 0, None)} | {
        (m, n, s) for m in ("bids", "random") for n in (4, 8) for s in (0, 1)
    }  # fmt: skip
    for method in ("bids", "random"):
        for seed in (0, 1):  # a smaller budget is a prefix of a larger one
            assert picked(cells[method, 8, seed])[:4] == picked(cells[method, 4, seed])
    assert picked(cells["bids", 8, 0]) == picked(cells["bids", 8, 1])
    assert picked(cells["random", 8, 0]) != picked(cells["random", 8, 1])
    assert cells["bids", 8, 0].tuned != cells["bids", 8, 1].tuned

    folder = project / "runs" / "tiny"
    table = pd.read_parquet(folder / "comparison.parquet")
    assert len(table) == len(cells) * 3
    trained = table[table["method"] != "zero_shot"]
    assert (trained[["tokens", "finetune_seconds", "peak_memory_bytes"]] > 0).all(axis=None)
    assert "<svg" in (folder / "comparison.html").read_text(encoding="utf-8")
    summary = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    assert summary["main_method"] == "bids"
    assert summary["failed"] == []

    _, again = run(project)
    assert again.computed == {"comparison": 1}
    single, recorder = select(project, "selection.budget=0.25", "selection.compare=[]")
    assert recorder.computed == {"analysis": 1, "report": 1}  # a single run finds the cells' work
    assert single.tuned["bids"] == cells["bids", 8, 0].tuned


@pytest.mark.usefixtures("prefect_server")
def test_a_run_and_a_comparison_with_its_seed_give_the_same_verdict(project, bids):
    status, out, _ = bids("run", project / "bids.yaml", "--set", "seed=3", "--json")
    assert status == 0
    verdict = json.loads(out)["verdict"]
    methods = ("bids", "less", "random")
    result, recorder = run(project, methods, budgets=(6,), seeds=(3,), overrides=["seed=3"])
    assert recorder.computed == {"comparison": 1}
    summary = json.loads((result.folder / "comparison.json").read_text(encoding="utf-8"))
    assert summary["verdict"] == verdict
    assert summary["conclusions"] == verdict["sentences"]
    lead = verdict["sentences"][0].replace("'", "&#39;")
    for page in ("report.html", "comparison.html"):
        html = (result.folder / page).read_text(encoding="utf-8")
        assert lead in html
        assert f">{verdict['label']}</p>" in html
    _, out, _ = bids("report", result.folder)
    shown = " ".join(out.split())
    assert verdict["label"] in shown
    assert all(" ".join(sentence.split()) in shown for sentence in verdict["sentences"])


def select(project, *overrides):
    recorder = Recorder()
    with reporting(recorder):
        return select_data(load_config(project / "bids.yaml", overrides)), recorder


@pytest.mark.usefixtures("prefect_server")
def test_failed_cells_are_named_and_only_they_are_done_again(project, monkeypatch, bids):
    true_task = module.run_finetune

    def compute(config, data, selection, method, *, draft, progress):
        if method == "random 4 rows seed 1":
            raise BidsError("the disk went away\nand came back")
        finetune.compute(config, data, selection, method, draft=draft, progress=progress)

    flaky = stage_task("finetune", true_task.identify, compute, label="finetune {method}")

    monkeypatch.setattr(module, "run_finetune", flaky)
    options = ("--methods", "bids,random", "--budgets", "4", "--seeds", "0,1")
    status, out, err = bids("compare", project / "bids.yaml", *options, "--json")
    assert status == 1
    assert "1 of 5 cells failed: random 4 rows seed 1 (finetune: the disk went away)" in err
    summary = json.loads(out)
    assert summary["failed"] == [
        {"cell": "random 4 rows seed 1", "reason": "finetune: the disk went away"}
    ]
    assert {arm["method"]: arm["n_seeds"] for arm in summary["arms"] if arm["n_rows"]} == {
        "bids": 2, "random": 1,
    }  # fmt: skip
    page = Path(summary["folder"], "comparison.html").read_text(encoding="utf-8")
    assert "the disk went away" in page

    monkeypatch.setattr(module, "run_finetune", true_task)
    result, recorder = run(project, budgets=(4,))
    assert recorder.computed == {"finetune": 1, "evaluation": 1, "comparison": 1}
    assert not any(cell.failed for cell in result.cells)
    status, out, _ = bids("compare", project / "bids.yaml", *options)
    assert status == 0
    assert "won/tied/lost" in out
    assert "This rests on 12 test rows of 3 tasks" in " ".join(out.split())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--methods", "bds"], "--methods bds: no such method; did you mean bids?"),
        (["--budgets", "1.5"], "--budgets: 1.5 is not a fraction in (0, 1]"),
        (["--budgets", "many"], "--budgets: 'many' is not a number: give a count"),
        (["--seeds", "one"], "--seeds one: not a whole number"),
        (["--seeds", ","], "--seeds: nothing given"),
    ],
)
def test_mistakes_are_named_before_anything_starts(project, bids, options, words):
    status, _, err = bids("compare", project / "bids.yaml", *options)
    assert status == 2
    assert words in " ".join(err.split())
    assert not (project / ".bids").exists()


@pytest.mark.usefixtures("prefect_server")
def test_a_comparison_without_test_rows_or_beyond_the_pool_is_refused(project):
    with pytest.raises(ConfigError, match="needs held-out rows"):
        run(project, overrides=["test=[]"])
    with pytest.raises(ConfigError, match="32 usable rows"):
        run(project, budgets=(4, 33))
    assert not (project / ".bids" / "warmup").exists()


def test_the_plan_goes_seed_by_seed_and_has_the_whole_pool_once():
    cells = plan_cells(["bids", "full"], [50, 0.1, 10], [3, 4, 3], n_pool=100, zero_shot=False)
    assert [(c.method, c.n_rows, c.seed) for c in cells] == [
        ("bids", 10, 3), ("bids", 50, 3), ("full", 100, 3),
        ("bids", 10, 4), ("bids", 50, 4), ("full", 100, 4),
    ]  # fmt: skip


def other_model(folder):
    """A model with another tokenizer (one token a character) and another chat template."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<user>", "<bot>", "<end>"]
    letters = sorted({chr(c) for c in range(32, 127)} | {"\n"})
    words = {word: index for index, word in enumerate(special + letters)}
    core = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"<pad>|<user>|<bot>|<end>|[\s\S]"), "isolated")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<end>", pad_token="<pad>",
        additional_special_tokens=["<user>", "<bot>"],
    )  # fmt: skip
    tokenizer.chat_template = (
        "{% for m in messages %}{{ ('<user>' if m.role == 'user' else '<bot>') + m.content + "
        "'<end>' }}{% endfor %}{% if add_generation_prompt %}<bot>{% endif %}"
    )
    build_llama(len(tokenizer), eos_token_id=3, bos_token_id=None).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.mark.usefixtures("prefect_server")
def test_transfer_trains_and_evaluates_another_model_on_its_own_tokens(project, tmp_path):
    tokenizer = other_model(tmp_path / "other")
    plain, _ = select(project, "selection.compare=[]")
    changes = [f"finetune.model={{path: {tmp_path / 'other'}, dtype: float32, device: cpu}}",
               "selection.compare=[]", "finetune.save=merged"]  # fmt: skip
    moved, recorder = select(project, *changes)
    assert recorder.computed["gradients"] == 0  # the selection is that of the first model
    assert moved.selections == plain.selections
    assert recorder.computed["prepare"] == 1  # rows were tokenized again
    assert moved.tuned["bids"] != plain.tuned["bids"]
    (prepared,) = [
        path for path in (project / ".bids" / "prepare").iterdir()
        if path.name != moved.data.fingerprint
    ]  # fmt: skip
    row = pd.read_parquet(prepared / "train.parquet").iloc[0]
    text = tokenizer.decode(row["input_ids"])
    assert text.startswith("<user>")
    assert "<|im_start|>" in CHAT_TEMPLATE
    assert "<|im_start|>" not in text
    card = (moved.tuned["bids"].path() / "model" / "README.md").read_text(encoding="utf-8")
    assert "6 rows selected by bids" in card
    config = json.loads((moved.tuned["bids"].path() / "model" / "config.json").read_text())
    assert config["vocab_size"] == len(tokenizer)
    assert moved.scores["zero_shot"] != plain.scores["zero_shot"]
