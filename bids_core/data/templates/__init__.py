"""Jinja templates from strangers: no access beyond the row, and a limit on a rendering's cost.

Jinja's sandbox keeps a template from Python's inside. It does not stop `'x' * 10**9`, a width of a
billion or nested loops from taking all memory or all day. Here every rendering has a budget of
*steps*, charged before the work is done, so the same row ends the same way on every machine: no
clock is read.

Reading order: `steps` (what is counted), `costs` (what operators, methods and filters cost),
`rewriting` (what Jinja does not let a sandbox see),
`environment` (the sandbox that counts, for mappings and for transformers' chat templates).
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
