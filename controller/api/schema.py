"""From a pydantic model to a structural OpenAPI v3 schema, as apiextensions.k8s.io/v1 wants it.

JSON Schema says more than a structural schema may: references, `anyOf` with null, titles, closed objects. References are written out,
"or null" is left out (the API server drops an explicit null by itself), and closedness is what the API server does anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from controller.api.common import WRITTEN_WHOLE

Schema = dict[str, Any]

_LEFT_OUT = frozenset({"title", "$defs", "propertyNames"})
_INT_OR_STRING = "x-kubernetes-int-or-string"


class UnstructuralError(TypeError):
    """A model says something that a structural schema cannot say; the message names the place."""


def structural_schema(model: type[BaseModel]) -> Schema:
    """The schema of one of our kinds, ready for a CustomResourceDefinition."""
    document = model.model_json_schema(by_alias=True, mode="validation")
    schema = _write_out(document, document.get("$defs", {}), model.__name__)
    properties = schema["properties"]
    # The API server owns these three, and lets a schema say nothing about metadata but the name's bounds.
    properties["apiVersion"] = {"type": "string", "description": properties["apiVersion"]["description"]}
    properties["kind"] = {"type": "string", "description": properties["kind"]["description"]}
    properties["metadata"] = {"type": "object"}
    if "status" in properties:
        properties["status"] |= WRITTEN_WHOLE
    schema["required"] = [name for name in schema.get("required", []) if name not in {"apiVersion", "kind", "metadata"}]
    return {key: value for key, value in schema.items() if value != []}


def _write_out(node: Mapping[str, Any], defs: Mapping[str, Any], place: str) -> Schema:
    node = _resolved(node, defs)
    if "anyOf" in node:
        node = _one_branch(node, defs, place)
    schema: Schema = {}
    for key, value in node.items():
        if key in _LEFT_OUT or (key == "default" and value is None) or (key == "additionalProperties" and isinstance(value, bool)):
            continue
        if key == "properties":
            schema[key] = {name: _write_out(field, defs, f"{place}.{name}") for name, field in value.items()}
        elif key in {"items", "additionalProperties"}:
            schema[key] = _write_out(value, defs, f"{place}[]")
        elif key == "const":
            schema |= {"enum": [value]}
        elif key == "enum":
            # Two Literals of the same words are one object to Python, so their order depends on which module was imported first.
            schema[key] = sorted(value)
        else:
            schema[key] = value
    return _ordered(schema)


def _resolved(node: Mapping[str, Any], defs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference; what stands beside it (the field's own description) wins."""
    while "$ref" in node:
        target = defs[node["$ref"].removeprefix("#/$defs/")]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


def _one_branch(node: Mapping[str, Any], defs: Mapping[str, Any], place: str) -> Schema:
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    branches = [_resolved(branch, defs) for branch in node["anyOf"] if branch.get("type") != "null"]
    if len(branches) == 1:
        inner = dict(branches[0])
        return _one_branch({**inner, **rest}, defs, place) if "anyOf" in inner else {**inner, **rest}
    if node.get(_INT_OR_STRING):
        bounds = {key: value for branch in branches for key, value in branch.items() if key != "type"}
        return bounds | rest
    types = {branch.get("type") for branch in branches}
    if len(types) == 1 and "maxLength" in rest:
        # Several forms of one type: the field itself says what they have in common.
        return {"type": types.pop(), **rest}
    raise UnstructuralError(f"{place}: a union of {sorted(map(str, types))} cannot be written as a structural schema")


_ORDER = ("description", "type", "format", "nullable", "default", "enum", "required", "properties", "items", "additionalProperties")


def _ordered(schema: Schema) -> Schema:
    rank = {key: position for position, key in enumerate(_ORDER)}
    return {key: schema[key] for key in sorted(schema, key=lambda key: (rank.get(key, len(rank)), key))}
