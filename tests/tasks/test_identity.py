"""Every field of the configuration, against the identities of all stages.

A field changes the identities of the stages that its annotation names; the inputs stay the same
here. No other identity changes, but for stages that read the named ones' results.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pandas as pd
import pytest
import yaml
from tiny_project import write_project

from bids_core.artifacts import ArtifactStore, Handle
from bids_core.config import RunConfig
from bids_core.config.effects import STAGES, Changes, InPlaceOf, NoEffect, Resolved, recomputed
from bids_core.config.load import load_config
from bids_core.config.slices import effects_of, sliced, walk, without_effect

FIELDS = {path: (owner, name) for path, owner, name in walk(RunConfig)}
# Where the type does not say what another valid value is.
OTHER = {
    "name": "other",
    "output_dir": "elsewhere",
    "store": "elsewhere",
    "seed": 1,
    "gradients.train_feature": "sgd",
    "selection.compare": ["sum"],
    "selection.normalization": "rank",
    "selection.budget": 5,
    "selection.seed": 1,
    "finetune.seed": 1,
    "finetune.lora": {"r": 3},
    "lora.target_modules": ["q_proj"],
    "model.device": "cpu:0",
    "evaluation.thought_markers": ["<a>", "</a>"],
    "evaluation.model_args": {"max_length": 8},
    "execution.deployment": "gradient-shards/other",
    "execution.training_deployment": "gpu-stage/other",
    "execution.report_url": "https://example.org",
    "analysis.leave_out": ["task"],
    "output.push_to_hub": "org/name",
    "pool.format": "messages",
    "validation.format": "messages",
    "test.format": "messages",
    "test.metric": "answer_loss",
    "test.stop": ["x"],
    "warmup.stop_after": 1,
    "gradients.checkpoints": [1],
    "screen.by": "rds_plus",
    "warmup.max_grad_norm": None,
    "finetune.max_grad_norm": None,
}
BASES = ({}, {"gradients.train_feature": "ekfac", "gradients.metric": "fisher",
              "execution.processes": 2, "evaluation.generation.temperature": 0.5},
         {"screen.by": "bm25"})  # fmt: skip
"""Configurations in which a field that matters only sometimes does."""


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_model_folder):
    folder = tmp_path_factory.mktemp("identity")
    write_project(folder, tiny_model_folder)
    return folder


@pytest.fixture(scope="module")
def run(project):
    """Prepared data and stand-ins for what comes after it; the names do not matter here."""
    from tasks.prepare import prepare_data
    from tasks.selection import SELECTION

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        config = load_config(project / "bids.yaml")
        data = prepare_data.fn(config).data
    store = ArtifactStore(str(project / ".bids"))
    picks = pd.DataFrame({"row_id": pd.read_parquet(data.path() / "train.parquet")["row_id"][:5]})
    parts = {"version": 1, "config": {}, "inputs": {}}
    with store.create("selection", "e" * 32, **parts) as draft:
        picks.to_parquet(draft.path / SELECTION)
    with store.create("warmup", "f" * 32, **parts):
        pass  # one that does not say which rows it saw
    return SimpleNamespace(
        config=config.model_dump(mode="json"),
        data=data,
        selection=store.handle("selection", "e" * 32),
    )


def identities(run, content) -> dict[str, object]:
    """Return the fingerprint of every stage; inputs are always the same."""
    from tasks import (
        analysis,
        attribution,
        curvature,
        evaluation,
        finetune,
        gradients,
        inference,
        losses,
        prepare,
        representations,
        screen,
        selection,
        steps,
        suites,
        warmup,
    )
    from tasks.identity import training_config

    config, data = RunConfig.model_validate(content), run.data

    def some(stage):
        return Handle(store=run.data.store, stage=stage, fingerprint="f" * 32)

    warm, matrix, tuned = some("warmup"), some("attribution"), some("finetune")
    shards = [
        gradients.Shard(split=split, checkpoint=1, start=0, stop=3)
        for split in ("train", "validation")
    ]
    none = representations.Representations(train=(), validation=())
    states = {"rds": none, "rds_plus": none}
    task = SimpleNamespace(suite_task=SimpleNamespace(name="ifeval"), digest="d")
    tuning = training_config(config)
    made = {
        "prepare": [prepare.identify(config)],
        "warmup": [warmup.identify(config, data)],
        "screen": [screen.identify_sample(config, data, config.landmarks.rows or 1)]
        + ([screen.identify(config, data, states)] if config.screen.by else []),
        "inference": [inference.identify(config, data, matrix, states)],
        "curvature": [curvature.identify_curvature(config, data, warm, 1)],
        "gradients": [gradients.identify(config, data, warm, shard) for shard in shards],
        "attribution": [attribution.identify(config, data, warm, ())],
        "representations": [representations.identify(config, data, "rds", shards[0])],
        "selection": [
            selection.identify(config, data, matrix, method)
            for method in (config.selection.method, "random")
        ],
        "analysis": [analysis.identify(config, data, matrix, {})],
        "finetune": [finetune.identify(config, data, run.selection, "bids")],
        "suite": [suites.identify_part(tuning, tuned, task)],
        "steps": [
            steps.identify(
                config, data, warm, steps.StepRows(checkpoint=1, learning_rate=0.1, rows=(0, 1))
            )
        ],
        "losses": [losses.identify(config, data, tuned, "bids")],
        "evaluation": [evaluation.identify(config, data, tuned, "bids")],
    }
    assert set(made) == set(STAGES)
    return {
        stage: tuple(one.fingerprint for one in found)
        # a shard's curvature is an input of it, and has an identity of its own
        if stage != "gradients"
        else tuple(str(one.config) for one in found)
        for stage, found in made.items()
    }


def changed(content: dict, path: str, value: object) -> dict:
    """Return a configuration with one value changed; of lists, in the first item."""
    content = yaml.safe_load(yaml.safe_dump(content))
    *sections, last = path.split(".")
    target = content
    for section in sections:
        if target[section] is None:
            target[section] = {}
        target = target[section]
        target = target[0] if isinstance(target, list) else target
    target[last] = value
    return content


def another(path: str, content: dict) -> object:
    """Return another valid value of a field."""
    if path in OTHER:
        return OTHER[path]
    owner, name = FIELDS[path]
    target = content
    for section in path.split(".")[:-1]:
        target = target[section] or {}
        target = target[0] if isinstance(target, list) else target
    now = target.get(name, owner.model_fields[name].default)
    annotation = owner.model_fields[name].annotation
    choices = [
        choice
        for part in (annotation, *get_args(annotation))
        for choice in get_args(part)
        if isinstance(choice, str)
    ]
    if choices:
        other = next(choice for choice in choices if choice not in (now, *(now or ())))
        return [other] if isinstance(now, list) else other
    if isinstance(now, bool):
        return not now
    if isinstance(now, int):
        return now + 1
    if isinstance(now, float):
        return now * 0.5 if now else 0.25
    if isinstance(now, dict):
        return {"prompt": "prompt"}
    if isinstance(now, list):
        return ["other"]
    return 3 if {int, float} & set(types_in(annotation)) else "other"


def types_in(annotation: object) -> list[object]:
    """Return a type and all that it is made of."""
    return [annotation, *(inner for part in get_args(annotation) for inner in types_in(part))]


def differing(run, base: dict, path: str, value: object) -> set[str]:
    """Return the stages whose identity differs."""
    before, after = identities(run, base), identities(run, changed(base, path, value))
    return {stage for stage in STAGES if before[stage] != after[stage]}


def test_every_field_says_what_it_can_change():
    assert without_effect(RunConfig) == []
    for path, (owner, name) in FIELDS.items():
        effects = effects_of(owner, name)
        assert {stage for effect in effects for stage in effect.stages} <= set(STAGES), path
        assert all(effect.reason for effect in effects if isinstance(effect, NoEffect)), path


@pytest.mark.parametrize("path", FIELDS)
def test_a_field_changes_the_identities_that_it_names_and_no_others(
    project, run, path, monkeypatch
):
    monkeypatch.chdir(project)
    owner, name = FIELDS[path]
    effects = effects_of(owner, name)
    if any(isinstance(effect, Resolved) for effect in effects) and path not in OTHER:
        pytest.skip("what it stands for counts: see the tests below")
    if path in ("warmup.checkpoint_rates", "warmup.base_model"):
        pytest.skip("goes with checkpoints: see tests/flows/test_external_warmup.py")
    named = {
        stage for effect in effects if not isinstance(effect, Resolved) for stage in effect.stages
    }
    found = set()
    for base in BASES:
        content = run.config
        for other, value in base.items():
            content = changed(content, other, value)
        if path == "landmarks.rows":  # goes alone
            content = changed(content, "screen.by", None)
        if ".generation." in path:  # what is drawn from counts only where something is drawn
            content = changed(content, f"{path.rpartition('.')[0]}.temperature", 0.5)
        value = another(path, content)
        if path == "finetune.model":
            value = content["model"] | {"path": str(other_model(project))}
        if path.endswith(".capability"):  # a task's is the same in validation and test
            content = changed(changed(content, "test.task", "alone"), "validation.task", "alone2")
        if path.endswith(".split"):  # for data sets, which files cannot stand in for
            section = RunConfig.model_validate(content).pool[0]
            split = section.model_copy(update={"split": value})
            found |= {stage for stage in STAGES if sliced(section, stage) != sliced(split, stage)}
            continue
        found |= differing(run, content, path, value)
    assert named <= found <= set(recomputed(tuple(named)))


def other_model(project: Path) -> Path:
    """Return a folder with the same model, other weights and another template."""
    folder = project / "other-model"
    if not folder.exists():
        shutil.copytree(
            yaml.safe_load((project / "bids.yaml").read_text())["model"]["path"], folder
        )
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
        template = folder / "chat_template.jinja"
        template.write_text(template.read_text() + "{# other #}")
    return folder


def resolved(run, path: str, value: object) -> set[str]:
    return differing(run, run.config, path, value)


def stages_resolving(path: str) -> set[str]:
    owner, name = FIELDS[path]
    return {stage for effect in effects_of(owner, name) for stage in effect.stages}


def test_a_model_is_known_by_its_files(project, run, monkeypatch):
    monkeypatch.chdir(project)
    assert resolved(run, "model.path", str(other_model(project))) == stages_resolving("model.path")
    copied = project / "copied-model"
    shutil.copytree(run.config["model"]["path"], copied, dirs_exist_ok=True)
    assert resolved(run, "model.path", str(copied)) == set()


def test_a_chat_template_is_known_by_its_content_wherever_it_is_used(project, run, monkeypatch):
    monkeypatch.chdir(project)
    template = project / "template.jinja"
    template.write_text("{{ messages[0].content }}")
    stages = stages_resolving("model.chat_template")
    assert {"prepare", "suite", "evaluation"} == stages
    assert resolved(run, "model.chat_template", str(template)) == stages


def test_a_dtype_is_known_by_what_it_comes_to(project, run, monkeypatch):
    monkeypatch.chdir(project)
    assert resolved(run, "model.dtype", "bfloat16") == stages_resolving("model.dtype")
    monkeypatch.setattr("bids_core.models.load._cpu_flags", lambda: frozenset())
    assert resolved(run, "model.dtype", "auto") == set()  # float32, as before


@pytest.mark.parametrize("section", ["pool", "validation", "test"])
def test_data_is_known_by_its_content(project, run, section, monkeypatch):
    monkeypatch.chdir(project)
    first = Path(run.config[section][0]["path"])
    files = sorted(project.glob("pool/*.jsonl")) if section == "pool" else [first]
    moved = project / "moved" / section
    moved.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, moved / file.name)
    place = str(moved / "*.jsonl") if section == "pool" else str(moved / first.name)
    assert resolved(run, f"{section}.path", place) - {"prepare"} == set()
    if section != "pool":  # whose sources are named after their folder
        assert resolved(run, f"{section}.path", place) == set()
    with (moved / files[0].name).open("a") as file:
        file.write('{"prompt": "one more", "completion": "row"}\n')
    assert resolved(run, f"{section}.path", place) == {"prepare"}


def test_a_scorer_is_known_by_its_code(project, run, monkeypatch):
    monkeypatch.chdir(project)
    scorer = project / "scorers.py"
    scorer.write_text("def judge(generation, row):\n    return 0.25\n")
    with_scorer = changed(run.config, "test.metric", "generation")
    with_scorer = changed(with_scorer, "test.scorer", f"{scorer}:judge")
    before = identities(run, with_scorer)
    scorer.write_text("def judge(generation, row):\n    return 0.75\n")
    after = identities(run, with_scorer)
    assert {stage for stage in STAGES if before[stage] != after[stage]} == {"evaluation"}


def test_a_selection_method_is_known_by_its_name_and_that_of_the_user_by_its_code(
    project, run, monkeypatch
):
    monkeypatch.chdir(project)
    stages = stages_resolving("selection.method")
    assert resolved(run, "selection.method", "less") == stages == {"selection", "analysis"}
    method = project / "methods.py"
    method.write_text("def pick(request):\n    return range(request.budget)\n")
    with_method = changed(run.config, "selection.method", f"{method}:pick")
    (project / "copied.py").write_text(method.read_text())
    copied = changed(run.config, "selection.method", f"{project}/copied.py:pick")
    before = identities(run, with_method)
    assert identities(run, copied) == before
    method.write_text("def pick(request):\n    return range(1, request.budget + 1)\n")
    after = identities(run, with_method)
    assert {stage for stage in STAGES if before[stage] != after[stage]} == stages


def test_what_follows_is_recomputed_too():
    assert recomputed(("selection",)) == (
        "selection", "analysis", "finetune", "suite", "evaluation", "losses",
    )  # fmt: skip
    assert recomputed(()) == ()
    assert recomputed(("prepare",)) == tuple(STAGES)


def test_a_field_that_takes_anothers_place_names_one_that_is_there():
    for path, (owner, name) in FIELDS.items():
        for effect in effects_of(owner, name):
            if isinstance(effect, InPlaceOf):
                inside = [other for other in FIELDS if other.split(".")[0] == effect.field]
                assert inside, path
            if isinstance(effect, Changes):
                assert effect.stages, path


def test_the_page_in_docs_is_made_from_the_annotations():
    from bids_core.config.effects_table import page

    written = Path(__file__).parents[2] / "docs" / "identity.md"
    assert written.read_text(encoding="utf-8") == page(), (
        "run python -m bids_core.config.effects_table > docs/identity.md"
    )
