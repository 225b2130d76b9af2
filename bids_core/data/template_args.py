"""Chat template variables, set once for all code that renders with a tokenizer.

They are prepended to the template itself, so they apply to every rendering: rows, test prompts,
lm-eval's benchmark suites, and anything else that calls `apply_chat_template`.
"""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any, Final

from bids_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PreTrainedTokenizerBase

_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_GIVEN: Final = ("messages", "tools", "documents", "add_generation_prompt")


def with_template_args(
    tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any]
) -> PreTrainedTokenizerBase:
    """Return a tokenizer whose chat template has the given variables set.

    Args:
        tokenizer: the tokenizer, which is not changed.
        arguments: name -> value (JSON types), `data.template_args`.

    Raises:
        ConfigError: a name is not a valid variable, is set by transformers, or does not occur in
            the template.
    """
    template: Any = tokenizer.chat_template
    if not arguments or not template:
        return tokenizer
    texts = list(template.values()) if isinstance(template, dict) else [str(template)]
    for name in arguments:
        if not _NAME.fullmatch(name) or name in _GIVEN:
            msg = f"data.template_args: {name!r} cannot be set; name a variable of the template"
            raise ConfigError(msg)
        if not any(re.search(rf"\b{name}\b", text) for text in texts):
            msg = f"data.template_args: the chat template does not use {name!r}; remove it"
            raise ConfigError(msg)
    prelude = "".join(f"{{%- set {name} = {value!r} -%}}" for name, value in arguments.items())
    changed = copy.copy(tokenizer)
    changed.chat_template = (
        {name: prelude + text for name, text in template.items()}
        if isinstance(template, dict)
        else prelude + template
    )
    return changed
