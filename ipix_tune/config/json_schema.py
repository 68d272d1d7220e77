"""The JSON schema of study files, by which editors complete and check them.

Made from the models. In a study the training config is partial, so below `trainer` nothing is required.
"""

import copy
import json
from typing import Any

from pydantic import BaseModel

from ipix_tune.config.dimension_config import KINDS
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.trainer.command.command_config import CommandSection
from ipix_tune.trainer.function import FunctionSection
from ipix_tune.trainer.own.keys import own_schema, train_leaves


def study_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a study file."""
    trainer = _partial(own_schema())
    trainer.get("properties", {}).pop("provenance", None)
    trainer["properties"]["base"] = {
        "description": "Files that lie below, such as ../presets/unified.yaml; relative to this one.",
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    }
    schema = StudyConfig.model_json_schema()
    definitions = schema.setdefault("$defs", {})
    definitions |= trainer.pop("$defs")
    trainer["description"] = "The training config, as far as it is fixed."
    others: dict[str, type[BaseModel]] = {"command": CommandSection, "function": FunctionSection}
    for key, model in others.items():
        other = model.model_json_schema()
        definitions |= other.pop("$defs", {})
        trainer = {"if": {"type": "object", "required": [key]}, "then": other, "else": trainer}
    definitions["Dimension"]["oneOf"] = [{"required": [kind]} for kind in KINDS]
    schema["properties"]["trainer"] = trainer
    another = {"properties": {"trainer": {"anyOf": [{"required": [key]} for key in others]}}}
    schema |= {"if": another, "else": {"properties": _named_keys(definitions["ConfirmConfig"]["properties"])}}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _named_keys(confirm: dict[str, Any]) -> dict[str, Any]:
    """Schema of `search`, `points` and `confirm` where every named key is one of our own training config."""
    known = {"propertyNames": {"enum": sorted(train_leaves())}}
    ablate = copy.deepcopy(confirm["ablate"])
    for either in ablate["anyOf"]:
        nested = either.get("additionalProperties", {})
        keys = either.get("items") or (nested if nested.get("type") == "object" else either)
        keys |= known
    own = {"ablate": ablate, "contrast": {"items": known["propertyNames"]}, "variants": {"additionalProperties": known}}
    return {"search": known, "points": {"items": known}, "confirm": {"properties": own}}


def _partial(node: Any) -> Any:
    """The schema with nothing required: several variants of a union may then match, so one-of becomes any-of."""
    if isinstance(node, list):
        return [_partial(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        "anyOf" if key == "oneOf" else key: _partial(value)
        for key, value in node.items()
        if not (key == "required" and isinstance(value, list)) and key != "discriminator"
    }


def schema_text() -> str:
    """The file's whole text."""
    return json.dumps(study_schema(), indent=1, ensure_ascii=False) + "\n"
