"""The settings that `bids plan` tries, and how they are measured on a sample.

A setting is a set of changes to the *exact* configuration, which is the user's own without any
shortcut (`cheaper` has the settings tried on every pool). Fields that count rows of the pool
(`landmarks.rows`, `screen.sample`) are scaled down to the same share of the sample. A warmup that
stops early has the same first checkpoints as the whole one, so one warmup on the sample serves all
settings.

Shapes: N rows of the pool, n of the sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bids_core.config.load import check_config
from bids_core.config.rewrite import put
from bids_core.config.screen import LANDMARKS
from bids_core.errors import ConfigError

if TYPE_CHECKING:
    from bids_core.config import RunConfig

EXACT: Final = "exact"
YOURS: Final = "yours"
MAY_CHANGE: Final = ("warmup", "gradients", "screen", "landmarks", "lora")
"""Sections that a setting may change: with another pool, model, budget or seed the exact picks
differ."""
LEAST_LANDMARKS: Final = 8
"""Fewest landmarks that `bids_core.influence.landmarks` accepts."""
SHORTCUTS: Final[dict[str, Any]] = {
    "warmup.stop_after": None,
    "gradients.checkpoints": None,
    "gradients.layers": None,
    "screen.by": None,
    "landmarks.rows": None,
}
"""The fields that make a configuration cheaper than the exact one, all switched off."""


@dataclass(frozen=True)
class Setting:
    """One way to get the picks.

    Args:
        name: short, unique.
        words: what it does.
        changes: changes to the exact configuration, by dotted key.
        family: the kind of shortcut, for the figure.
    """

    name: str
    words: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    family: str = "your own"

    def configure(self, exact: RunConfig) -> RunConfig:
        """Return the configuration with this setting.

        Raises:
            ConfigError: a value is invalid; the message names the setting.
        """
        return changed(exact, self.changes, origin=f"setting {self.name!r}")


def changed(config: RunConfig, changes: Mapping[str, Any], *, origin: str) -> RunConfig:
    """Return a configuration with some values changed.

    Args:
        config: a configuration.
        changes: by dotted key; None removes the value.
        origin: where the changes come from, for the message.

    Raises:
        ConfigError: a value is invalid, or there is no such key.
    """
    content = config.model_dump(mode="json")
    for key, value in changes.items():
        put(content, key, value)
    return check_config(content, origin=origin)


def without_shortcuts(config: RunConfig) -> RunConfig:
    """Return the exact configuration: gradients of all rows, at all checkpoints, in all layers."""
    return changed(config, SHORTCUTS, origin="config")


def shortcuts_of(config: RunConfig) -> dict[str, Any]:
    """Return a configuration's shortcuts, as changes to the exact one."""
    found = {key: _value(config, key) for key in SHORTCUTS}
    found = {key: value for key, value in found.items() if value is not None}
    if "screen.by" in found:
        found |= {"screen.keep": config.screen.keep, "screen.sample": config.screen.sample}
    return found


def on_sample(
    config: RunConfig, *, sample_rows: int, pool_rows: int, picks: int, own_warmup: bool
) -> RunConfig:
    """Return the configuration with which a sample of the pool is measured.

    Args:
        config: for the whole pool.
        sample_rows: n.
        pool_rows: N.
        picks: how many to select from the sample.
        own_warmup: warm up on the sample; otherwise the pool's warmup is used. A share of the pool
            to train on becomes the same number of rows, or all of the sample.

    Raises:
        ConfigError: a checkpoint of an epoch that is not trained is requested.
    """
    share = sample_rows / pool_rows
    changes: dict[str, Any] = {"selection.budget": picks, "selection.compare": []}
    if config.screen.by not in (None, LANDMARKS):
        changes["screen.sample"] = max(1, round(config.screen.sample * share))
    if config.landmarks.rows is not None:
        changes["landmarks.rows"] = _landmarks_of(config.landmarks.rows, sample_rows, share)
    if own_warmup and not config.warmup.checkpoints:
        fraction = min(1.0, config.warmup.fraction / share)
        changes |= {"warmup.fraction": fraction, "warmup.when_pool_changes": "renew"}
    epochs = config.warmup.stop_after
    if epochs is not None:
        wanted = config.gradients.checkpoints or tuple(range(1, epochs + 1))
        if max(wanted) > epochs:
            msg = (
                f"gradients.checkpoints: the warmup stops after {epochs}, so checkpoint "
                f"{max(wanted)} does not exist"
            )
            raise ConfigError(msg)
        changes |= {"warmup.stop_after": None, "gradients.checkpoints": list(wanted)}
    return changed(config, changes, origin="the sample")


def own_settings(given: Sequence[Mapping[str, Any]], *, origin: str) -> list[Setting]:
    """Return the user's own settings.

    Args:
        given: one mapping per setting: keys of the configuration, dotted or nested, and optionally
            `name`.
        origin: where they come from, for the message.

    Raises:
        ConfigError: one is not a mapping, changes nothing, or changes something it must not.
    """
    found: list[Setting] = []
    for number, one in enumerate(given, start=1):
        where = f"{origin}: setting {number}"
        if not isinstance(one, Mapping):
            msg = f"{where} is {one!r}: write keys and values, as in `warmup.stop_after: 1`"
            raise ConfigError(msg)
        content = dict(one)
        name = content.pop("name", None)
        changes = _flat(content)
        if not changes:
            msg = f"{where} changes nothing: give keys and values, as in `warmup.stop_after: 1`"
            raise ConfigError(msg)
        for key in changes:
            if key.partition(".")[0] not in MAY_CHANGE:
                msg = (
                    f"{where} changes {key}, so its picks cannot be compared with the exact "
                    f"ones; a setting may change {', '.join(MAY_CHANGE)}"
                )
                raise ConfigError(msg)
        words = ", ".join(f"{key}={value}" for key, value in changes.items())
        found.append(Setting(str(name or words), words, changes))
    names = [setting.name for setting in found]
    for name in names:
        if names.count(name) > 1 or name == EXACT:
            msg = f"{origin}: the name {name!r} is used twice; give each setting its own name"
            raise ConfigError(msg)
    return found


def _landmarks_of(rows: int, sample_rows: int, share: float) -> int:
    """Return as large a share of the sample, but at least a tenth of it if `rows` are as many."""
    wanted = max(round(rows * share), min(rows, sample_rows // 10), LEAST_LANDMARKS)
    return min(wanted, sample_rows)


def _value(config: RunConfig, key: str) -> Any:
    section, _, name = key.partition(".")
    value = getattr(getattr(config, section), name)
    return list(value) if isinstance(value, tuple) else value


def _flat(content: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
