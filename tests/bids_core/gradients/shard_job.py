"""One shard computed into an artifact store; as a program it can be made to die on the way.

python shard_job.py STORE [computing|writing|publishing]
"""

from __future__ import annotations

import json
import os
import signal
import sys

import numpy as np

ROWS, DIM = 24, 512


def examples():
    from bids_core.records import TokenizedExample

    rng = np.random.default_rng(0)
    made = []
    for index in range(ROWS):
        ids = rng.integers(3, 96, 6 + index % 5).astype(np.int32)
        labels = np.where(np.arange(len(ids)) < 2, -100, ids).astype(np.int32)
        made.append(TokenizedExample(f"row-{index}", ids, labels))
    return made


def model():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4,
    )  # fmt: skip
    made = LlamaForCausalLM(config)
    for name, parameter in made.named_parameters():
        parameter.requires_grad_("q_proj" in name or "down_proj" in name)
    return made


def run(url, die=None):
    """Return the handle of the shard's artifact, computing it unless the store holds it whole."""
    from bids_core.artifacts import store as artifacts
    from bids_core.gradients import (
        compute_features,
        make_projector,
        n_trainable,
        store,
        write_shard,
    )

    def killed(*_args, **_settings):
        os.kill(os.getpid(), signal.SIGKILL)

    if die == "writing":
        store._float32 = killed  # after the rows, before the norms
    if die == "publishing":
        artifacts.move_whole = killed
    place = artifacts.ArtifactStore(url)
    found = place.find("gradients", "f" * 32)
    if found is not None:
        return found
    with place.create("gradients", "f" * 32, version=1, config={}, inputs={}) as draft:
        net = model()
        features = compute_features(
            net, examples(), feature="sgd", tokens_per_batch=50,
            projector=make_projector("sjlt", n_trainable(net), DIM, 0),
            on_progress=lambda done, total: killed() if die == "computing" and done > 12 else None,
        )  # fmt: skip
        write_shard(draft.path / "features.zarr", features, storage="float32")
    return place.handle("gradients", "f" * 32)


def run_and_report(url, die=None):
    """Run as a program does: the user's errors on one line, exit status 3."""
    from bids_core.errors import BidsError

    try:
        run(url, die)
    except (BidsError, OSError) as error:
        print(f"{type(error).__name__}: {error}")  # noqa: T201
        return 3
    return 0


def in_a_fork(url, die):
    """Return the exit code of a process of its own, forked so that imports are paid for once."""
    child = os.fork()
    if child == 0:
        os._exit(run_and_report(url, die))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    import torch
    import transformers  # noqa: F401 - before the forks

    torch.set_num_threads(1)
    if len(sys.argv) == 2:
        sys.exit(run_and_report(sys.argv[1]))
    codes = [in_a_fork(f"{sys.argv[1]}/{die}", die) for die in sys.argv[2:]]
    print(json.dumps(codes))  # noqa: T201
