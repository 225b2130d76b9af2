"""A tokenizer's chat template: renders conversations to text, and knows the special tokens.

Every rendering is bounded (`bids_core.data.templates`), whatever the template does.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

from jinja2 import TemplateError, TemplateSyntaxError

from bids_core.data.costly import too_costly
from bids_core.data.rejects import RejectedRow, shorten
from bids_core.data.templates import (
    NOT_COMPILED,
    STEPS,
    TooManySteps,
    at_most,
    bound_chat_templates,
)  # fmt: skip
from bids_core.data.tools import call_dict
from bids_core.errors import ModelError
from bids_core.formatting import brief

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedTokenizerBase

    from bids_core.records import Message

_GENERATION: Final = re.compile(r"\{%-?\s*generation\s*-?%\}")


class ChatTemplate:
    """Renders conversations with a tokenizer's chat template.

    Args:
        tokenizer: a fast transformers tokenizer with a chat template.
        steps: limit for one rendering (`data.template_steps`).

    Raises:
        ModelError: the tokenizer has no valid Jinja chat template, or no character offsets (it is
            not a fast one).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, steps: int = STEPS) -> None:
        if not getattr(tokenizer, "chat_template", None):
            msg = (
                f"the tokenizer of {tokenizer.name_or_path or 'the model'!r} has no chat template;"
                " set model.chat_template to a file with one"
            )
            raise ModelError(msg)
        if not tokenizer.is_fast:
            msg = (
                f"the tokenizer of {tokenizer.name_or_path or 'the model'!r} gives no character"
                " offsets; use a model with a fast tokenizer (a tokenizer.json)"
            )
            raise ModelError(msg)
        bound_chat_templates()
        self.tokenizer = tokenizer
        self._steps = steps
        self._marked: dict[bool, bool] = {}
        self._require_jinja()
        added = (str(token) for token in tokenizer.added_tokens_decoder.values())
        self.specials = sorted(added, key=len, reverse=True)

    def text(self, tools: str | None) -> str:
        """Return the template; some models have a separate one for rows with tools."""
        schemas = None if tools is None else json.loads(tools)
        return self.tokenizer.get_chat_template(tools=schemas)

    def marks_answers(self, tools: str | None) -> bool:
        """Return whether the template marks the answers."""
        with_tools = tools is not None
        if with_tools not in self._marked:
            self._marked[with_tools] = bool(_GENERATION.search(self.text(tools)))
        return self._marked[with_tools]

    def apply(self, messages: Sequence[Message], tools: str | None, *, prompt: bool = False) -> str:
        """Render turns to text, optionally followed by the generation prompt.

        Raises:
            RejectedRow: the template raises an error, or takes too many steps.
        """
        with self._refusals(messages):
            text = self.tokenizer.apply_chat_template(
                _dicts(messages),
                tools=None if tools is None else json.loads(tools),
                tokenize=False,
                add_generation_prompt=prompt,
            )
        return cast("str", text)  # not tokenized, so text

    def apply_marked(
        self, messages: Sequence[Message], tools: str | None
    ) -> tuple[str, list[tuple[int, int]]]:
        """Render turns; return the text and [start, end) of each stretch that is marked.

        Raises:
            RejectedRow: as `apply`.
        """
        # apply_chat_template(return_assistant_tokens_mask=True) calls this; it gives character
        # positions, so that tokenization is the same, and batched, whatever the template
        from transformers.utils.chat_template_utils import render_jinja_template

        options: dict[str, Any] = {
            "conversations": [_dicts(messages)],
            "tools": None if tools is None else json.loads(tools),
            "chat_template": self.text(tools),
            "return_assistant_tokens_mask": True,
            **self.tokenizer.special_tokens_map,
        }
        rendered: Any  # annotated as str, but returns texts and, per text, [start, end) pairs
        with self._refusals(messages):
            rendered = render_jinja_template(**options)
        (text,), (spans,) = rendered
        return text, spans

    def special_at(self, text: str, position: int) -> str:
        """Return the special token at a position of a text, or an empty text."""
        return next((token for token in self.specials if text.startswith(token, position)), "")

    @contextmanager
    def _refusals(self, messages: Sequence[Message]) -> Iterator[None]:
        try:
            with at_most(self._steps):
                yield
        except TooManySteps as error:
            raise too_costly("the chat template", error.message) from None
        except TemplateError as error:
            raise _refused(error.message or "", messages) from None
        except (
            TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError,
        ) as error:  # raised by the template # fmt: skip
            raise _refused(f"{type(error).__name__}: {error}", messages) from None

    def _require_jinja(self) -> None:
        """Compile the template, and the one for rows with tools, before any row is read."""
        from transformers.utils.chat_template_utils import _compile_jinja_template

        for text in {self.text(None), self.text("[]")}:
            try:
                _compile_jinja_template(text)
            except NOT_COMPILED as error:
                line = f", line {error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
                msg = (
                    f"the chat template of {self.tokenizer.name_or_path or 'the model'!r} is "
                    f"invalid ({brief(str(error) or type(error).__name__)}{line}); set "
                    "model.chat_template to a file with a valid one"
                )
                raise ModelError(msg) from None


def _dicts(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [_dict(message) for message in messages]


def _dict(message: Message) -> dict[str, Any]:
    """Return a message in the form that templates expect."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning:
        turn["reasoning_content"] = message.reasoning
    if message.tool_calls:
        turn["tool_calls"] = [call_dict(call, parsed=True) for call in message.tool_calls]
    if message.name is not None:
        turn["name"] = message.name
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    return (json.loads(message.other) if message.other else {}) | turn


def _refused(reason: str, messages: Sequence[Message]) -> RejectedRow:
    roles = ", ".join(message.role for message in messages[:6])
    detail = f"the chat template rejects the turns {shorten(roles)}: {brief(reason)}"
    fix = "change the row's turns, or set model.chat_template"
    if "system" in reason.lower() and any(m.role == "system" for m in messages):
        fix = "set data.system: merge, or model.chat_template"
    elif "alternat" in reason.lower():
        fix = "set data.join_turns: true, or model.chat_template"
    return RejectedRow("template-refused", f"{detail}; {fix}")
