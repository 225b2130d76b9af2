"""Methods that select by texts, hidden states or perplexities, inside the pipeline."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM

import tasks.gradients
from bids_core.config.load import load_config
from bids_core.selection import METHODS, select
from flows.select_data import select_data
from tasks.prepare import load_prepared
from tasks.selection import read_selection

pytestmark = pytest.mark.usefixtures("prefect_server")
SIGNALS = [name for name, method in METHODS.items()
           if method.needs not in ("influence", "nothing")]  # fmt: skip


def run(project, *overrides):
    return select_data(load_config(project / "bids.yaml", overrides), until="selection")


def hidden_states(model, split):
    """Batch of one, straight from transformers: last states and mean completion losses."""
    last, mean, losses = [], [], []
    for example in split.examples():
        ids = torch.tensor(example.input_ids)[None]
        labels = torch.tensor(example.labels)[None].long()
        with torch.no_grad():
            out = model(input_ids=ids, labels=labels, output_hidden_states=True)
        states = out.hidden_states[-1][0].float()
        weights = torch.arange(1, len(states) + 1).float()
        last.append(states[-1])
        mean.append((weights[:, None] * states).sum(0) / weights.sum())
        losses.append(float(out.loss))
    return torch.stack(last).numpy(), torch.stack(mean).numpy(), np.array(losses)


def test_every_signal_selects_as_the_library_does(project, tiny_model_folder):
    compare = ",".join(SIGNALS)
    result = run(project, f"selection.compare=[{compare}]", "gradients.storage=float32")
    data = load_prepared(result.data)
    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder).eval()
    train, validation = (hidden_states(model, split) for split in (data.train, data.validation))
    given = {
        "texts": {"texts": data.train.texts(), "validation_texts": data.validation.texts()},
        "rds": {"representations": train[0], "validation_representations": validation[0]},
        "rds_plus": {"representations": train[1], "validation_representations": validation[1]},
        "perplexities": {"perplexities": np.exp(train[2])},
    }
    for name in SIGNALS:
        expected = select(
            None, 6, method=name, tasks=data.validation.frame["task"],
            **given[METHODS[name].needs],
        )  # fmt: skip
        found = read_selection(result.selections[name])
        assert found["row_id"].tolist() == [data.train.row_ids[i] for i in expected.indices], name
        np.testing.assert_allclose(found["utility"], expected.utilities, rtol=1e-4)


def test_a_reworded_text_with_the_same_tokens_selects_anew(project):
    """Texts are not part of what identifies the rows for the model."""
    first = run(project, "selection.compare=[bm25]").selections["bm25"].fingerprint
    path = project / "validation" / "max.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["prompt"] += " and more words"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(project, "selection.compare=[bm25]").selections["bm25"].fingerprint != first


def test_a_row_without_a_finite_gradient_at_one_checkpoint_is_left_out_everywhere(
    project, monkeypatch
):
    real = tasks.gradients.compute_features
    calls = []

    def losing_a_row(model, examples, **settings):
        features = real(model, examples, **settings)
        calls.append(features.row_ids)
        if calls.count(features.row_ids) < 2 or len(features.row_ids) != 12:
            return features  # only at the second checkpoint, in shards of training rows
        kept = list(range(1, 12))
        return replace(
            features, values=features.values[kept], norms=features.norms[kept],
            losses=features.losses[kept], row_ids=features.row_ids[1:],
            nonfinite_row_ids=features.row_ids[:1],
        )  # fmt: skip

    monkeypatch.setattr(tasks.gradients, "compute_features", losing_a_row)
    result = run(project, "gradients.on_nonfinite=reject")
    lost = result.matrix.summary()["nonfinite_row_ids"]
    assert len(lost) == 2
    rejects = pd.read_json(result.folder / "rejects.jsonl", lines=True)
    assert rejects["row_id"].tolist() == lost
    assert set(rejects["reason"]) == {"nonfinite-gradient"}
    assert not set(lost) & set(read_selection(result.selections["random"])["row_id"])
    assert lost[0] in (result.folder / "report.html").read_text(encoding="utf-8")
