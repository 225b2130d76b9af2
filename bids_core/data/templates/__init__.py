"""Untrusted Jinja templates: no access beyond the row, and a limit on the cost of rendering.

Jinja's sandbox keeps a template away from Python's internals. It does not stop `'x' * 10**9`, a
field width of a billion or nested loops from exhausting memory or running all day. Here every
rendering has a budget of *steps*, charged before the work is done. No clock is involved, so the
same row gives the same result on every machine.

Reading order: `steps` (what is counted), `costs` (of operators, methods and filters), `rewriting`
(for operations that Jinja's sandbox does not intercept), `environment` (the metered sandbox, for
mappings and for transformers' chat templates).
"""

from bids_core.data.templates.environment import (
    NOT_COMPILED,
    BoundedEnvironment,
    bound_chat_templates,
)
from bids_core.data.templates.steps import STEPS, TooManySteps, at_most

__all__ = [
    "NOT_COMPILED",
    "STEPS",
    "BoundedEnvironment",
    "TooManySteps",
    "at_most",
    "bound_chat_templates",
]
