"""Jinja templates from strangers: no reach beyond the row, and an end to what one rendering costs.

Jinja's sandbox keeps a template from Python's inside. It does not keep `'x' * 10**9`, a width of a
thousand million or loops in loops from taking all memory or all day. Here every rendering has a
number of *steps*, and what it does is paid for before it is done, so the same row ends the same way
on every machine: no clock is read.

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
