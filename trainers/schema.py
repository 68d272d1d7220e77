"""The base of every config section: frozen, strict about keys, documented per field."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a config file. Unknown keys are refused; numbers must be finite."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )
