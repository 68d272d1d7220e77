"""The base of every config section: frozen, strict about keys, documented per field."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError


class Section(BaseModel):
    """A part of a config file. Unknown keys are refused; numbers must be finite, and true is none."""

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


def _kinds(annotation: Any) -> set[Any]:
    """The plain types that an annotation is made of."""
    inner = get_args(annotation)
    return set().union(*map(_kinds, inner)) if inner else {annotation} if isinstance(annotation, type) else set()
