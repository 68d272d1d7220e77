"""The base of every config section: frozen, strict about keys, documented per field."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

from trainers.common.depends_on import OnlyIf

Probability = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of a config file. Unknown keys are refused; numbers must be finite, and true is none.

    A field that has an effect only under some value of another one says so by `OnlyIf` in its annotation.
    """

    section_only_if: ClassVar[OnlyIf | None] = None
    """The same for every field of the section but those that it names."""
    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {}
    """The same for keys of other sections, by dotted name, where the config has this section: what a method makes no
    use of."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
        ser_json_inf_nan="constants",
    )

    @model_validator(mode="before")
    @classmethod
    def _true_is_no_number(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        faults = []
        for name, value in data.items():
            kinds = _kinds(cls.model_fields[name].annotation) if name in cls.model_fields else set()
            if isinstance(value, bool) and kinds & {int, float} and bool not in kinds:
                wanted = "number" if float in kinds else "integer"
                error = PydanticCustomError("bool_is_no_number", "Input should be a valid {wanted}", {"wanted": wanted})
                faults.append(InitErrorDetails(type=error, loc=(name,), input=value))
        if faults:
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return data

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """With a sentence on what each field depends on."""
        schema = handler(core_schema)
        section = handler.resolve_ref_schema(schema)
        for name, shown in section.get("properties", {}).items():
            marks = [one for one in cls.model_fields[name].metadata if isinstance(one, OnlyIf)]
            marks += [one for one in (cls.section_only_if,) if one is not None and name not in one.named]
            for mark in marks:
                sentence = f"Has an effect only if {mark}."
                shown["description"] = f"{shown['description']} {sentence}" if "description" in shown else sentence
        return schema


def _kinds(annotation: Any) -> set[Any]:
    """The plain types that an annotation is made of."""
    inner = get_args(annotation)
    return set().union(*map(_kinds, inner)) if inner else {annotation} if isinstance(annotation, type) else set()
