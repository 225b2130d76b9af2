"""What all sections share: strict validation, and field types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from bids_core.config.budget import PERCENTAGE, parse_budget
from bids_core.config.choices import OneOf
from bids_core.config.effects import Effect

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        word = str(value).lower()
        msg = f"{word} is read as a boolean; give a number, or put quotes around text"
        raise ValueError(msg)  # pydantic prefixes the field's name
    return value


Fraction = Annotated[float, Field(gt=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
_Share = Annotated[float, Field(gt=0.0, le=1.0, title="fraction")]
_Count = Annotated[int, Field(ge=1, title="count")]
_Percentage = Annotated[str, Field(pattern=PERCENTAGE, title="percentage")]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""A seed valid for all random generators: NumPy's legacy one, which transformers seeds, takes 32
bits."""
Budget = Annotated[
    _Share | _Count,
    BeforeValidator(parse_budget, json_schema_input_type=_Share | _Count | _Percentage),
    BeforeValidator(_no_truth_value, json_schema_input_type=_Share | _Count | _Percentage),
]
Seconds = Annotated[float, Field(gt=0.0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]


class Section(BaseModel):
    """Base of all sections: rejects unknown keys, does not read booleans as numbers, is frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    effects: ClassVar[tuple[Effect, ...]] = ()
    """What fields without an annotation of their own can change."""

    @field_validator("*", mode="before")
    @classmethod
    def _truth_values_where_asked_for(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[str(info.field_name)].annotation
        return value if kind is bool or bool in get_args(kind) else _no_truth_value(value)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Append the descriptions of a table's choices to the field's description."""
        made = handler(schema)
        properties = handler.resolve_ref_schema(made).get("properties", {})
        for name, field in cls.model_fields.items():
            for choice in (item for item in field.metadata if isinstance(item, OneOf)):
                if words := choice.words():
                    properties[name]["description"] = f"{field.description} {words}."
        return made
