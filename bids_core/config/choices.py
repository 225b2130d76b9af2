"""Fields whose value is a name from a table (`bids_core.registry`).

The tables are in packages above this one, next to the code they name. A field holds its table's
address, like an entry point, and looks it up when a value is checked or a schema is built. So a new
entry needs no change here, and importing the configuration imports no table.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from pydantic_core import core_schema

from bids_core.errors import ConfigError
from bids_core.own_code import check_name, function_name, is_own
from bids_core.registry import Registry, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue


@dataclass(frozen=True)
class OneOf:
    """The names in a table.

    Args:
        table: its address, `package.module:ATTRIBUTE`: a `Registry`, or any mapping by name.
        more: further names, listed before the table's.
        own: example file name for messages (`methods.py`) if the user's own functions are accepted
            too, as `package.module:function` or `file.py:function`; None if they are not.
    """

    table: str
    more: tuple[str, ...] = ()
    own: str | None = None

    @property
    def entries(self) -> Mapping[str, Any]:
        """The table."""
        module, _, attribute = self.table.partition(":")
        return cast("Mapping[str, Any]", getattr(importlib.import_module(module), attribute))

    def names(self) -> list[str]:
        """Return the choices."""
        return [*self.more, *self.entries]

    def words(self) -> str:
        """Return a line that describes the choices; empty if the table has no descriptions."""
        table = self.entries
        return table.words() if isinstance(table, Registry) else ""

    def check(self, value: str) -> str:
        """Return the name if it is in the table, or has the form of a user's own function.

        Raises:
            ValueError: it is neither; the message gives the nearest names.
        """
        if value in self.more:
            return value
        table = self.entries
        if self.own is not None and is_own(value):
            self._check_own(value, table)
        elif value not in table:
            raise ValueError(self._unknown(value, table))
        return value

    def _unknown(self, value: str, table: Mapping[str, Any]) -> str:
        if isinstance(table, Registry) and not self.more:
            return table.unknown(value)
        return unknown_name(getattr(table, "kind", "choice"), value, self.names())

    def _check_own(self, value: str, table: Mapping[str, Any]) -> None:
        kind, reserved = getattr(table, "kind", "choice"), getattr(table, "reserved", ())
        try:
            check_name(value, where=f"a {kind} of your own", example=str(self.own))
        except ConfigError as error:
            raise ValueError(str(error)) from error
        name = function_name(value)
        if name in table or name in reserved:
            msg = f"{value}: the name {name!r} is already used; rename the function"
            raise ValueError(msg)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Check the name once its type is checked."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Show the names as choices, in editors and in the form of the Prefect UI."""
        names = handler(schema) | {"enum": self.names()}
        if self.own is None:
            return names
        own = {
            "type": "string",
            "title": "your own",
            "pattern": r"^.+:\w+$",
            "description": f"package.module:function, or {self.own}:function",
        }
        return {"anyOf": [names | {"title": "by name"}, own]}


@dataclass(frozen=True)
class ManyOf:
    """A list of choices, which may include the user's own functions.

    The form of the Prefect UI shows a list of `anyOf` items as bare JSON. So `anyOf` is applied to
    the list as a whole: either names to choose from, or texts.
    """

    choice: OneOf

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe the two alternative lists."""
        made, names = handler(schema), self.choice.names()
        shared = {key: value for key, value in made.items() if key != "items"}
        known = "|".join(map(re.escape, names))
        own = {"type": "string", "pattern": rf"^({known}|.+:\w+)$"}
        return {
            "anyOf": [
                shared | {"title": "by name", "items": {"type": "string", "enum": names}},
                shared | {"title": "with your own", "items": own},
            ]
        }


METHODS: Final = OneOf("bids_core.selection.methods:METHODS", own="methods.py")
SelectionMethod = Annotated[str, METHODS]
SelectionMethods = Annotated[tuple[SelectionMethod, ...], ManyOf(METHODS)]
Normalization = Annotated[str, OneOf("bids_core.influence.normalization:NORMALIZATIONS")]
FEATURES: Final = OneOf("bids_core.gradients.training_features:TRAINING_FEATURES")
TrainFeature = Annotated[str, FEATURES]
METRICS: Final = OneOf("bids_core.evaluation.metrics:METRICS")
TestMetric = Annotated[str, METRICS]
