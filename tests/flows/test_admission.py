"""Whether this machine takes a run."""

from __future__ import annotations

import pytest
import torch

from bids_core.artifacts import Handle
from bids_core.config.load import load_config
from bids_core.errors import ConfigError, UserError
from flows.admission import admit, check_gpus


def test_a_configuration_and_its_handles_stay_inside(project, tiny_model_folder, monkeypatch):
    config = load_config(project / "bids.yaml")
    monkeypatch.setenv("BIDS_ALLOWED_PATHS", f"{project},{tiny_model_folder}")
    handle = Handle(store=str(project / ".bids"), stage="prepare", fingerprint="0" * 32)
    admit(config, handle)
    with pytest.raises(ConfigError, match="store of prepare: '/elsewhere' is outside"):
        admit(config, handle.model_copy(update={"store": "/elsewhere"}))
    monkeypatch.setenv("BIDS_ALLOWED_PATHS", str(project))
    with pytest.raises(ConfigError, match=r"^model\.path: "):
        admit(config)


@pytest.mark.parametrize("request_", ["", "count= memory_gib=", "count=0 memory_gib=0"])
def test_no_request_asks_for_nothing(request_):
    check_gpus(request_)


def pretend(monkeypatch, *gib):
    """Pretend GPUs of these sizes; only what torch reports is replaced."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(gib))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gib))

    class Properties:
        def __init__(self, index):
            self.total_memory = int(gib[index] * (1 << 30))

    monkeypatch.setattr(torch.cuda, "get_device_properties", Properties)


@pytest.mark.parametrize(
    ("gpus", "request_", "words"),
    [
        ((), "count=1 memory_gib=", "asks for 1 GPU.*sees none"),
        ((), "count= memory_gib=40", "asks for 1 GPU.*sees none"),
        ((80.0,), "count=2 memory_gib=", "asks for 2 GPU.*sees 80 GiB"),
        ((24.0, 80.0), "count=2 memory_gib=40", "asks for 2 GPU.*of 40 GiB.*24 GiB, 80 GiB"),
    ],
)
def test_too_few_or_too_small_gpus_are_named(monkeypatch, gpus, request_, words):
    pretend(monkeypatch, *gpus)
    with pytest.raises(UserError, match=words):
        check_gpus(request_)


def test_enough_gpus_pass(monkeypatch):
    pretend(monkeypatch, 24.0, 80.0)
    check_gpus("count=1 memory_gib=40")
    check_gpus("count=2 memory_gib=")
