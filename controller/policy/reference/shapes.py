"""JSON Schemas as rows of a table: path, type and meaning of every field; documents that several share are pointed at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controller.policy.reference.markdown import code

Schema = Mapping[str, Any]


def below(schema: Schema, path: str) -> Schema:
    """What stands at a path like `spec.steps[].name`; empty where nothing does."""
    for part in re.findall(r"\[\]|[^.\[\]]+", path):
        schema = schema.get("items", {}) if part == "[]" else schema.get("properties", {}).get(part, {})
    return schema


def type_name(schema: Schema) -> str:
    """The type in words."""
    if "enum" in schema:
        return " or ".join(map(code, schema["enum"]))
    if "items" in schema:
        return f"list of {type_name(schema['items'])}"
    values = schema.get("additionalProperties")
    return f"map to {type_name(values)}" if isinstance(values, Mapping) else str(schema.get("type", "any"))


@dataclass(frozen=True, slots=True)
class Shapes:
    """``shared``: title to the documents that have a table of their own; ``meanings``: title to where else fields may be described."""

    shared: Mapping[str, Schema]
    meanings: Mapping[str, tuple[Schema, ...]]

    def rows(self, schema: Schema, title: str = "", prefix: str = "") -> Iterator[tuple[str, str, str]]:
        """Every field below a schema, which may be the shared one of this title; parameters are the actions' own."""
        for name, value in schema.get("properties", {}).items():
            path, inner, lists = prefix + name, *_inner(value)
            fields = _fields(inner)
            other = next((title for title, known in self.shared.items() if fields and _fields(known) == fields), "")
            kind = "list of " * lists.count("[]") + f"[{other}](#{other.lower().replace(' ', '-')})" if other else type_name(value)
            said = [value.get("description", ""), *(below(root, path).get("description", "") for root in self.meanings.get(title, ()))]
            # What stands above the other's own table is not said again.
            repeated = self.shared[other].get("description") if other else ""
            yield code(path), kind, next((text for text in said if text and text != repeated), "")
            if not other and name != "parameters":
                yield from self.rows(inner, title, f"{path}{lists}.")


def _inner(schema: Schema) -> tuple[Schema, str]:
    """What the fields below a field belong to, and how its path goes on: the items of a list, the values of a map."""
    values = schema.get("additionalProperties")
    for below_it, suffix in ((schema.get("items"), "[]"), (values if isinstance(values, Mapping) else None, ".*")):
        if below_it is not None:
            inner, more = _inner(below_it)
            return inner, suffix + more
    return schema, ""


def _fields(schema: Schema) -> frozenset[str]:
    return frozenset(schema.get("properties", ()))
