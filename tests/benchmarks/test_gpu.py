"""The benchmark for GPUs, small and on a CPU: it runs, on what a bare machine has, and judges."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from bids_core.planning import COSTS, ModelSize, planned_speed

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
GIVEN = ("torch", "transformers", "accelerate")  # what a GPU machine has


@pytest.fixture
def lab(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return lambda name: importlib.import_module(f"gpu_lab.{name}")


def carried():
    lines = (BENCHMARKS / "gpu_wheels.txt").read_text().splitlines()
    return [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]


def needed_by(names):
    """Return distributions and all that they require, without extras."""
    found, left = set(), list(names)
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name in found:
            continue
        found.add(name)
        for text in importlib.metadata.requires(name) or []:
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                left.append(wanted.name)
    return found


def bare_environment(folder):
    """Link what is installed of torch, transformers, accelerate and the carried wheels."""
    for name in needed_by(GIVEN) | set(carried()):
        files = importlib.metadata.files(name)
        where = {Path(str(f.locate())).parents[len(f.parts) - 1]: f.parts[0] for f in files
                 if f.parts[0] not in ("..", "__pycache__")}  # fmt: skip
        tops = {(base, f.parts[0]) for base in where for f in files}
        for base, top in tops:
            link = folder / top
            if top not in ("..", "__pycache__") and not link.exists() and (base / top).exists():
                link.symlink_to(base / top)
    return folder


def test_it_runs_with_nothing_but_the_given_and_the_carried_wheels(tmp_path):
    bare, out = tmp_path / "bare", tmp_path / "gpu.json"
    bare.mkdir()
    done = subprocess.run(
        [sys.executable, "-S", str(BENCHMARKS / "gpu.py"), "--tiny", "--json", str(out)],
        env={**os.environ, "PYTHONPATH": str(bare_environment(bare)), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(out.read_text())
    assert list(found["parts"]) == ["parity", "speed", "kernels", "halving", "attribution"]
    judged = [row for rows in found["parts"].values() for row in rows if "ok" in row]
    assert len(judged) == 8  # three kinds of weights, Adam, three projections, halving
    assert all(row["ok"] for row in judged)
    assert found["parts"]["halving"][0]["halved"] >= 1
    contenders = [row["contender"] for row in found["parts"]["speed"]]
    assert "bids adam + sjlt" in contenders
    assert "Toy sizes" in done.stdout


def test_a_size_that_does_not_fit_is_told_of(lab, monkeypatch):
    speed, device = lab("speed"), lab("device").Device.here("cpu")
    sizes = speed.Sizes(("tiny",), (16,), budget=64, batches=1, rounds=1, dim=64)

    def full(*_args, **_kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    measured = speed.contenders

    def tight(model, examples, budget, dim, chosen):
        return full() if budget > 16 else measured(model, examples, budget, dim, ["bids adam + s"])

    monkeypatch.setattr(speed, "contenders", tight)
    rows = list(speed.speed(device, sizes))
    assert {row["budget"] for row in rows} == {16}

    monkeypatch.setattr(speed, "contenders", full)
    assert list(speed.speed(device, sizes)) == [
        {"model": "tiny", "tokens": 16, "note": "does not fit"}
    ]
    monkeypatch.setattr(speed, "random_llama", full)
    assert "note" in next(iter(speed.speed(device, sizes)))


def test_a_peer_that_fails_is_told_of_and_an_error_of_ours_is_raised(lab, monkeypatch):
    speed, device = lab("speed"), lab("device").Device.here("cpu")
    sizes = speed.Sizes(("tiny",), (16,), budget=16, batches=1, rounds=1, dim=64)

    def broken():
        raise ValueError("no such kernel")

    monkeypatch.setattr(speed, "contenders", lambda *_: {"ours": int, "bergson plain": broken})
    ours, peer = speed.speed(device, sizes)
    assert ours["contender"] == "ours"
    assert peer["note"] == "failed: no such kernel"
    monkeypatch.setattr(speed, "contenders", lambda *_: {"ours": broken})
    with pytest.raises(ValueError, match="no such kernel"):
        list(speed.speed(device, sizes))


def test_its_counts_are_the_cost_models(lab):
    models = lab("models")
    model = models.random_llama("tiny", torch.device("cpu"), torch.float32)
    planned = planned_speed(ModelSize.of(model), flops=1.0, utilisation=1.0)
    assert 1 / planned.tokens_per_second == pytest.approx(models.flops_per_token(model))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert sum(models.adapter_sizes("tiny")) == trained
    paper = COSTS["bids_paper"].speed.size.n_trainable
    assert sum(models.adapter_sizes("8b")) == paper


@pytest.mark.parametrize(
    ("name", "peak"),
    [("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA H100 PCIe", 756e12), ("NVIDIA L4", 121e12),
     ("NVIDIA A100-SXM4-80GB", 312e12), ("NVIDIA A10G", None), ("NVIDIA L40S", 362e12)],
)  # fmt: skip
def test_the_peaks_of_known_devices(lab, name, peak):
    assert lab("device").known_peak(name) == peak
