"""Settings on a sample: the influence and picks of each, with shared work done once.

The stages are those of a run, with one exception: if rows are screened out, and a row's influence
depends on no other row, the screened matrix is taken from the sample's instead of being computed
from shards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_core.planning.settings import EXACT, Setting, on_sample
from flows.influence import Rows, all_representations, matrix_of, rows_with_gradients
from flows.spread import all_gradients, warmed
from tasks.attribution import run_attribution
from tasks.excerpt import rows_stand_alone, run_excerpt
from tasks.inference import run_inference
from tasks.plan import Measured, Sample
from tasks.runtime.progress import AsOne, current, reporting
from tasks.screen import run_sample, run_screen, states_method
from tasks.selection import run_selection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bids_core.artifacts import Handle
    from bids_core.config import RunConfig
    from tasks.representations import Representations


class OnSample:
    """Measures settings on one sample.

    Args:
        exact: the configuration without shortcuts.
        sample: the sample.
        warms: the pool's warmup for each setting; None: each warmup runs on the sample.
    """

    def __init__(
        self, exact: RunConfig, sample: Sample, warms: Mapping[str, Handle] | None
    ) -> None:
        self._exact, self._sample, self._warms = exact, sample, warms
        self._matrices: dict[str, Handle] = {}
        self._states: dict[str, dict[str, Representations]] = {}
        self._trained: dict[str, Handle] = {}

    def measure(self, setting: Setting) -> Measured:
        """Compute a setting's influence and picks, shown as one step except for the exact one."""
        if setting.name == EXACT:
            return self._measured(setting)
        whole = AsOne(current(), f"setting {setting.name}")
        with reporting(whole):
            found = self._measured(setting)
        whole.finish()
        return found

    def _measured(self, setting: Setting) -> Measured:
        sample = self._sample
        config = on_sample(
            setting.configure(self._exact),
            sample_rows=sample.rows,
            pool_rows=sample.pool_rows,
            picks=sample.picks,
            own_warmup=self._warms is None,
        )
        matrix = self._matrix(config, self._warm(config, setting))
        picks = run_selection(config, sample.drawn, matrix, config.selection.method, None)
        return Measured(setting=setting, matrix=matrix, picks=picks)

    def _warm(self, config: RunConfig, setting: Setting) -> Handle:
        if self._warms is not None:
            return self._warms[setting.name]
        key = config.warmup.model_dump_json() + config.lora.model_dump_json()
        if key not in self._trained:
            self._trained[key] = warmed(config, self._sample.drawn)
        return self._trained[key]

    def _matrix(self, config: RunConfig, warm: Handle) -> Handle:
        data = self._sample.drawn
        if not rows_stand_alone(config):
            rows = rows_with_gradients(config, data, warm)
            return matrix_of(config, data, warm, rows, all_gradients(config, rows.data, warm))
        whole = self._whole(config, warm)
        if config.screen.by is None and config.landmarks.rows is None:
            return whole
        states = self._representations(config)
        inferred: Handle | None = None
        if config.landmarks.rows is not None:
            drawn = run_sample(config, data, config.landmarks.rows)
            known: Handle = run_excerpt(config, whole, drawn)
            inferred = run_inference(config, data, known, states)
            if config.screen.by is None:
                return inferred
        screened: Handle = run_excerpt(config, whole, run_screen(config, data, states, inferred))
        return screened

    def _whole(self, config: RunConfig, warm: Handle) -> Handle:
        """Return the influence of all rows of the sample, with the setting's features."""
        data = self._sample.drawn
        key = run_attribution.identify(config, data, warm, ()).key
        if key not in self._matrices:
            gradients = all_gradients(config, data, warm)
            self._matrices[key] = matrix_of(config, data, warm, Rows(data), gradients)
        return self._matrices[key]

    def _representations(self, config: RunConfig) -> dict[str, Representations]:
        methods = states_method(config)
        key = ",".join(methods)
        if key not in self._states:
            self._states[key] = all_representations(config, self._sample.drawn, methods)
        return self._states[key]
