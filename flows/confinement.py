"""What a run may access on a machine that runs other people's configurations: paths, remote code.

A worker of a server runs whatever configuration reaches the server. With `BIDS_ALLOWED_PATHS` set
(`/data,s3://bucket/bids`) a configuration may only name places inside these, may use only
environment variables named `BIDS_...` in a path, and may bring no code (from a model repository, as
a scorer or as a selection method) unless `BIDS_ALLOW_REMOTE_CODE=1` is set too. Methods added by an
installed package belong to the machine. Without the variable nothing is confined.
"""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bids_core.data.locate import HUB_PREFIX, expand
from bids_core.data.sources import described_paths
from bids_core.errors import ConfigError
from bids_core.models.bundled import PREFIX
from bids_core.own_code import is_own, own_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bids_core.config import ModelConfig, RunConfig

ALLOWED_PATHS: Final = "BIDS_ALLOWED_PATHS"
ALLOW_REMOTE_CODE: Final = "BIDS_ALLOW_REMOTE_CODE"
_SPLITS: Final = ("pool", "validation", "test")
_WRITTEN: Final = ("store", "output_dir")
"""Places that runs write to; all others are only read, including links in them."""
_VARIABLE: Final = re.compile(r"\$\{([^}]*)\}")


@dataclass(frozen=True, slots=True)
class Confinement:
    """The places and code that configurations may use here.

    Args:
        folders: local folders, resolved.
        urls: prefixes of URLs, each ending in a slash.
        remote_code: whether a model's repository may bring code.
    """

    folders: tuple[Path, ...]
    urls: tuple[str, ...]
    remote_code: bool = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Confinement | None:
        """Return the confinement set in the environment; None if there is none."""
        entries = [entry.strip() for entry in environ.get(ALLOWED_PATHS, "").split(",")]
        entries = [entry for entry in entries if entry]
        if not entries:
            return None
        return cls(
            folders=tuple(
                Path(entry).expanduser().resolve() for entry in entries if not _url(entry)
            ),
            urls=tuple(entry.rstrip("/") + "/" for entry in entries if _url(entry)),
            remote_code=environ.get(ALLOW_REMOTE_CODE, "") == "1",
        )

    def check(self, config: RunConfig) -> None:
        """Check all paths of a configuration, and whether it uses remote code.

        Raises:
            ConfigError: something is not allowed; one line with the key, the value and what is.
        """
        for key, model in _models(config):
            if model.trust_remote_code and not self.remote_code:
                msg = (
                    f"{key}.trust_remote_code: this machine does not run code from model "
                    "repositories; use a model that transformers supports, or set "
                    f"{ALLOW_REMOTE_CODE}=1 on the worker"
                )
                raise ConfigError(msg)
        for index, task in enumerate(config.test):
            if task.scorer is not None:
                self._check_code(task.scorer, key=f"test.{index}.scorer")
        for key, method in _own_methods(config):
            self._check_code(method, key=key)
        for key, value in paths_of(config):
            self.check_path(value, key=key, read_whole=key not in _WRITTEN)

    def check_method(self, method: str, *, key: str) -> None:
        """Check a selection method named outside a configuration.

        Raises:
            ConfigError: it is code that this machine does not run, or is outside the allowed
                places.
        """
        if is_own(method):
            self._check_code(method, key=key)
            if (path := own_file(method)) is not None:
                self.check_path(path, key=key)

    def _check_code(self, name: str, *, key: str) -> None:
        if not self.remote_code:
            msg = (
                f"{key}: this machine does not run code named by a configuration ({name}); "
                f"set {ALLOW_REMOTE_CODE}=1 on the worker"
            )
            raise ConfigError(msg)

    def check_path(self, value: str, *, key: str, read_whole: bool = False) -> None:
        """Check one path, glob or URL.

        Args:
            value: the path, as the configuration has it.
            key: its key, for the message.
            read_whole: the content of a folder or glob is read too, so links in it count.

        Raises:
            ConfigError: it is outside the allowed places, or uses a forbidden environment variable.
        """
        for name in _VARIABLE.findall(value):
            if not name.startswith("BIDS_"):
                msg = (
                    f"{key}: {value!r}: here only environment variables BIDS_... are "
                    "allowed; write the path out"
                )
                raise ConfigError(msg)
        expanded = expand(value, where=key)
        if _url(expanded):
            inside = ".." not in expanded and f"{expanded.rstrip('/')}/".startswith(self.urls)
        else:
            path = Path(expanded)
            found = [path, *_content(path)] if read_whole else [path]
            inside = all(self._holds(candidate) for candidate in found)
        if not inside:
            allowed = ", ".join([*map(str, self.folders), *self.urls])
            msg = (
                f"{key}: {value!r} is outside the folders this machine allows ({allowed}); "
                "move it into one of them"
            )
            raise ConfigError(msg)

    def _holds(self, path: Path) -> bool:
        try:
            resolved = path.resolve()  # follows links and `..`, whether it exists or not
        except (OSError, RuntimeError, ValueError):  # circular links, NUL characters
            return False
        return any(resolved.is_relative_to(folder) for folder in self.folders)


def paths_of(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Yield the key and value of every place named in a configuration.

    Hub names and bundled models are not places.
    """
    yield "store", config.store
    yield "output_dir", str(config.output_dir / config.name)
    for key, model in _models(config):
        if not model.path.startswith(PREFIX) and (
            _looks_local(model.path) or Path(model.path).exists()
        ):
            yield f"{key}.path", model.path
        if model.chat_template is not None:
            yield f"{key}.chat_template", model.chat_template
    for split in _SPLITS:
        for index, source in enumerate(getattr(config, split)):
            if not source.path.startswith(HUB_PREFIX):
                yield f"{split}.{index}.path", source.path
                for place in described_paths(source, Path.cwd()):  # read only after it is allowed
                    yield f"{split}.{index}.path", place
    for index, task in enumerate(config.test):
        if task.scorer is not None and (path := own_file(task.scorer)) is not None:
            yield f"test.{index}.scorer", path
    for key, method in _own_methods(config):
        if (path := own_file(method)) is not None:
            yield key, path
    for index, path in enumerate(config.warmup.checkpoints):
        yield f"warmup.checkpoints.{index}", path
    if config.evaluation.suite_data is not None:
        yield "evaluation.suite_data", config.evaluation.suite_data


def _models(config: RunConfig) -> Iterator[tuple[str, ModelConfig]]:
    yield "model", config.model
    if config.finetune.model is not None:
        yield "finetune.model", config.finetune.model


def _own_methods(config: RunConfig) -> Iterator[tuple[str, str]]:
    section = config.selection
    named = [("selection.method", section.method)]
    named += [(f"selection.compare.{i}", method) for i, method in enumerate(section.compare)]
    yield from ((key, method) for key, method in named if is_own(method))


def _looks_local(path: str) -> bool:
    return path.startswith((".", "/", "~", "$")) or "://" in path


def _url(path: str) -> bool:
    return "://" in path


def _content(path: Path) -> Iterator[Path]:
    """Yield what is in a folder or matches a glob; each entry may be a link that leads outside."""
    if path.is_dir():
        yield from path.rglob("*")
    elif glob.has_magic(str(path)):
        yield from map(Path, glob.iglob(str(path), recursive=True))
