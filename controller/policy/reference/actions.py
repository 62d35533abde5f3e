"""The page of the catalogue: every action with its parameters, conditions and rights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from controller.core.names import ALIASES
from controller.policy.reference.markdown import NOTE, code, links, paragraph, source, table
from controller.policy.reference.reading import Module
from controller.policy.reference.shapes import Schema, below, type_name

Entry = Mapping[str, Any]


def render_actions(actions: Mapping[str, Entry], modules: Mapping[str, Module], workflow: Schema) -> str:
    """The page of the catalogue."""
    rows = [
        (links([action]), modules[f"kubernaut.actions.{action}"].metadata["title"], _reversible(entry)) for action, entry in actions.items()
    ]
    about = (
        "A step's `action` may be written with dashes, underscores or in camel case. The timeout of a condition counts from when it "
        "was first seen unmet; a workflow may tighten its terms (`conditionOverrides`). Rights are those of the ServiceAccount, its "
        "reads included."
    )
    page = [NOTE, "# Actions\n\n", table(["action", "what", "reversible"], rows), paragraph(about)]
    for action, entry in actions.items():
        page.append(_action(action, entry, modules[f"kubernaut.actions.{action}"], workflow))
    return "".join(page)


def _reversible(entry: Entry) -> str:
    return "yes" if entry["reversible"] else f"no: {entry['irreversible_reason']}" if "irreversible_reason" in entry else "no"


def _action(action: str, entry: Entry, module: Module, workflow: Schema) -> str:
    about = module.metadata
    # What conditions and team rules see as `state` of the verdict.
    state = sorted({str(part["value"]) for rule in module.rules.get("state", ()) for part in rule["head"]["ref"][1:2]})
    facts = {
        "module": source(module.file),
        "also called": ", ".join(code(alias) for alias, meant in ALIASES.items() if meant == action),
        "reversible": _reversible(entry),
        "ServiceAccount": code(entry["service_account"]),
        "executor": code(entry["executor"]),
        "timeout": f"{entry['timeout_seconds']} s",
        "kinds": "; ".join(f"{version}: {', '.join(kinds)}" for version, kinds in entry.get("kinds", {}).items()),
        "state": ", ".join(map(code, state)),
    }
    rights = [
        (", ".join(group or "core" for group in rule["apiGroups"]), ", ".join(rule["resources"]), ", ".join(rule["verbs"]))
        for rule in entry["permissions"]
    ]
    example = yaml.dump(about["custom"]["example"], sort_keys=False, default_flow_style=None, width=120)
    return "".join(
        [
            f"## {action}\n\n" + paragraph(f"**{about['title']}.** {about.get('description', '')}"),
            f"```yaml\n{example}```\n\n",
            table(["", ""], ((name, text) for name, text in facts.items() if text)),
            _parameters(entry["member"], workflow),
            "Must hold before" + _conditions(entry["preconditions"]),
            "Must hold afterwards" + _conditions(entry["postconditions"]),
            "Rights" + _or_nothing(table(["API group", "resources", "verbs"], rights)),
        ]
    )


def _conditions(declared: Mapping[str, Entry]) -> str:
    rows = (
        (links([name], "reasons.md"), "yes" if it["required"] else "no: a warning", it["timeout"], it["message"], it.get("remedy", ""))
        for name, it in declared.items()
    )
    return _or_nothing(table(["condition", "required", "timeout", "message", "remedy"], rows))


def _or_nothing(rows: str) -> str:
    return f":\n\n{rows}" if rows else ": nothing.\n\n"


def _parameters(member: str, workflow: Schema) -> str:
    step = below(workflow, "spec.workflowDefinition.steps[]")
    places = {f"{place}.{member}": below(step, f"{place}.{member}") for place in ("parameters", "rollbackSpec.parameters")}
    here = {place: schema for place, schema in places.items() if schema}
    if not here:
        return f"Parameters: below `parameters.custom`, as the CRD has no member `{member}`.\n\n"
    schema = next(iter(here.values()))
    needed = schema.get("required", [])
    rows = [
        (code(name), type_name(value), "required" if name in needed else _default(value), _bounds(value), value.get("description", ""))
        for name, value in schema["properties"].items()
    ]
    notes = "".join(f"{rule['message']}. ".capitalize() for rule in schema.get("x-kubernetes-validations", ()))
    about = paragraph(f"Parameters, below {' and '.join(map(code, here))}. {notes}")
    return about + table(["field", "type", "default", "bounds", "meaning"], rows)


def _default(schema: Schema) -> str:
    return code(json.dumps(schema["default"])) if "default" in schema else ""


def _bounds(schema: Schema) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}"
    return f"at most {schema['maxLength']} characters" if "maxLength" in schema else ""
