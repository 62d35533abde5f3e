"""Generates schemas/: what each gate is asked and what it answers, as JSON Schemas that `opa check --schema` can use.

`python -m controller.gates.schemas` writes; with `--check` it writes nothing and exits 1 if anything would change. OPA does not check
below a reference or beside a null, so references are written out, "or null" is left out, and every object with named members is closed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from controller import paths
from controller.api.parameters import ExecutionParameters, RollbackParameters
from controller.api.workflowexecution import WorkflowExecutionSpec
from controller.core.verdict import VERDICTS
from controller.gates.documents import QUESTIONS
from controller.generated import GeneratedFiles

Schema = dict[str, Any]

_KEPT = ("description", "type", "enum", "pattern", "required")


def render() -> dict[str, str]:
    """File name → content of everything that belongs into schemas/."""
    schemas = {f"{gate}_input.json": input_schema(question) for gate, question in QUESTIONS.items()}
    schemas |= {f"{gate}_verdict.json": closed_schema(verdict) for gate, verdict in VERDICTS.items()}
    return {name: json.dumps(schema, indent=1, ensure_ascii=False) + "\n" for name, schema in schemas.items()}


def input_schema(question: type[Any]) -> Schema:
    """What one gate is asked: the typed dict, with what the author wrote typed by the models of the API."""
    schema = closed_schema(question)
    properties = schema["properties"]
    spec = closed_schema(WorkflowExecutionSpec)
    # Gates see the steps beside the workflow, each gate the ones that concern it.
    del spec["properties"]["workflowDefinition"]["properties"]["steps"]
    properties["workflow"]["properties"]["spec"] = _without_required(spec)
    steps = [properties[name] for name in ("step",) if name in properties]
    steps += [properties[name]["items"] for name in ("steps",) if name in properties]
    for step in steps:
        members = step["properties"]
        members["parameters"] = _without_required(closed_schema(ExecutionParameters))
        members["rollbackSpec"]["properties"]["parameters"] = _without_required(closed_schema(RollbackParameters))
    return schema


def closed_schema(shape: type[Any]) -> Schema:
    """The schema of a model or typed dict: self-contained, without nulls, closed."""
    document = TypeAdapter(shape).json_schema(by_alias=True, mode="validation")
    return _write_out(document, document.get("$defs", {}), shape.__name__)


def _write_out(node: Mapping[str, Any], defs: Mapping[str, Any], place: str) -> Schema:
    node = _one_branch(node, defs, place)
    schema: Schema = {key: node[key] for key in _KEPT if key in node}
    if "enum" in schema:
        # typing takes two Literals of the same words for one, so their order would depend on which module is imported first.
        schema["enum"] = sorted(schema["enum"])
    if "const" in node:
        schema["enum"] = [node["const"]]
    if "items" in node:
        schema["items"] = _write_out(node["items"], defs, f"{place}[]")
    if node.get("type") != "object":
        return schema
    if "properties" in node:
        schema["properties"] = {name: _write_out(value, defs, f"{place}.{name}") for name, value in node["properties"].items()}
        schema["additionalProperties"] = False
    elif isinstance(values := node.get("additionalProperties"), Mapping):
        schema["additionalProperties"] = _write_out(values, defs, f"{place}{{}}")
    else:
        schema["additionalProperties"] = True
    return schema


def _one_branch(node: Mapping[str, Any], defs: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """Follow references and drop the null of a union; what stands beside a reference (the field's own description) wins."""
    if "$ref" in node:
        target = defs[node["$ref"].removeprefix("#/$defs/")]
        return _one_branch({**target, **{key: value for key, value in node.items() if key != "$ref"}}, defs, place)
    if "anyOf" not in node:
        return node
    rest = {key: value for key, value in node.items() if key not in {"anyOf", "default"}}
    branches = [_one_branch(branch, defs, place) for branch in node["anyOf"] if branch.get("type") != "null"]
    types = {branch.get("type") for branch in branches}
    if len(branches) == 1:
        return {**branches[0], **rest}
    if types == {"integer", "number"}:
        return {"type": "number", **rest}
    # Of several forms only the type is said, where they share one; OPA cannot choose between branches.
    return {"type": types.pop(), **rest} if len(types) == 1 else rest


def _without_required(schema: Schema) -> Schema:
    """A question may lack anything: policies have to prove what they need, so no schema promises it to them."""
    return {
        key: _without_required(value) if isinstance(value, dict) else value
        for key, value in schema.items()
        if key != "required" or isinstance(value, dict)
    }


def files(folder: Path = paths.SCHEMAS) -> GeneratedFiles:
    """What is generated of the folder: all of its schemas."""
    return GeneratedFiles(folder, ("*.json",), "controller/gates/documents.py, or a model that it names,")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done or nothing to do, 1 a check failed."""
    parser = argparse.ArgumentParser(prog="python -m controller.gates.schemas", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if schemas/ is not up to date")
    parser.add_argument("--out", type=Path, default=paths.SCHEMAS)
    options = parser.parse_args(arguments)
    return files(options.out).bring(render(), check=options.check)


if __name__ == "__main__":
    sys.exit(main())
