"""One cluster for all faults, the undisturbed selection, and a line for each fault."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
import torch
from faults import cluster as cluster_module

from bids_core.config import RunConfig

LINES: list[str] = []


@dataclass
class Outcome:
    """What a fault test has to say; printed when it ends."""

    fault: str
    words: str = "not reached"
    recovered: float | None = None
    identical: bool | None = None

    def __str__(self) -> str:
        seconds = "-" if self.recovered is None else f"{self.recovered:.0f}"
        same = {True: "yes", False: "no", None: "-"}[self.identical]
        return f"{self.fault} | {self.words} | {seconds} | {same}"


@pytest.fixture(scope="session")
def cluster_model(tmp_path_factory, tokenizer):
    """Return a random model that is slow enough for its shards to be hit."""
    from conftest import build_llama

    folder = tmp_path_factory.mktemp("faults-model")
    build_llama(
        len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=4
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, server, first_deploy):
    """The server with everything deployed, and a worker of the cpu pool."""
    with cluster_module.Cluster(tmp_path_factory.mktemp("cluster"), server) as running:
        yield running


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, cluster_model):
    """Return the selection of a run in peace: the stages one after the other, in one process."""
    config = cluster_module.write_project(tmp_path_factory.mktemp("undisturbed"), cluster_model)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the workers have it
    try:
        return cluster_module.select_in_peace(RunConfig.model_validate(config))
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def project(tmp_path, cluster_model):
    """Return the configuration of a project with an empty store."""
    return cluster_module.write_project(tmp_path, cluster_model)


@pytest.fixture
def outcome(request, cluster):
    """Collect what happened; the test fills it in. Nothing of it is left for the next test."""
    told = Outcome(request.node.get_closest_marker("fault").args[0])
    started = time.monotonic()
    yield told
    cluster.tidy()
    LINES.append(f"{told}   ({time.monotonic() - started:.0f} s in all)")


def pytest_terminal_summary(terminalreporter):
    """Print the table."""
    if LINES:
        terminalreporter.write_line("fault | outcome | seconds to recover | selection identical")
        for line in LINES:
            terminalreporter.write_line(line)
