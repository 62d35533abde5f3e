"""`phasegate export-test`: turn one recorded decision into a test of the policies that made it."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from controller.audit.store import Row
from controller.cli._audit import add_audit_argument, audit_store
from controller.cli._exits import CommandError, Exit
from controller.settings import Settings

SUMMARY = "turn one recorded decision into a test: a *_test.rego that passes while the policies decide so"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("export-test", help=SUMMARY, description=SUMMARY)
    parser.add_argument("decision_id", metavar="DECISION_ID", help="`decisionId` in the status of a workflow or an attempt")
    add_audit_argument(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write it, ending in _test.rego (default: stdout)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the test."""
    with audit_store(arguments) as store:
        row = store.decision(arguments.decision_id)
        settings = store.settings()
    if row is None:
        raise CommandError(f"no decision {arguments.decision_id} is recorded in {store.name}", Exit.USAGE)
    if row["input"] is None:
        raise CommandError(f"the question of decision {arguments.decision_id} was too large to be kept", Exit.NO)
    kept = settings.get(row["revision"])
    text = build_test(row, Settings().document() if kept is None else json.loads(kept))
    if arguments.output is None:
        print(text, end="")
        return Exit.DONE
    if not arguments.output.name.endswith("_test.rego"):
        raise CommandError(f"--output: {arguments.output} has to end in _test.rego, or no test would be found in it", Exit.USAGE)
    try:
        arguments.output.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise CommandError(f"cannot write {arguments.output}: {exc.strerror}", Exit.USAGE) from exc
    return Exit.DONE


def build_test(row: Row, settings: Mapping[str, Any]) -> str:
    """The module: the recorded question, the settings that it was answered under, and the decision with the codes of its reasons."""
    return "\n".join(_lines(row, settings)) + "\n"


def _lines(row: Row, settings: Mapping[str, Any]) -> Iterator[str]:
    gate = row["gate"]
    question = {**json.loads(row["input"]), "now": row["time"]}
    digests = ((question.get("workflow") or {}).get("status") or {}).get("actionDigests")
    step = "" if row["step"] is None else f", step {row['step']}"
    yield f"# Decision {row['decision_id']} of {row['time']}: gate {gate}, workflow {row['namespace']}/{row['workflow']}{step}."
    yield f"# It was made by the policy set {row['revision']}: a rule of a team that had a say in it is needed here, too."
    if row["masked"]:
        yield "# Values of Secrets in it are digests."
    yield f"package kubernaut.gates.{gate}_recorded_{re.sub(r'[^0-9A-Za-z]', '_', row['decision_id'])}_test"
    yield ""
    yield f"import data.kubernaut.gates.{gate}"
    yield ""
    yield f"_question := {_rego(question)}"
    yield ""
    yield f"_settings := {_rego(settings)}"
    yield ""
    if digests:
        # The plan was approved with these modules; what a bundle says of its own stands in no file.
        yield f"_modules := {_rego(digests)}"
        yield ""
    yield "test_decides_as_recorded if {"
    yield f"\tverdict := {gate}.verdict with input as _question"
    yield "\t\twith data.kubernaut.settings as _settings"
    if digests:
        yield "\t\twith data.kubernaut.modules.actions as _modules"
    yield ""
    yield f"\tverdict.decision == {_text(row['decision'])}"
    yield f"\t{{[reason.policy, reason.code] | some reason in verdict.reasons}} == {_reasons(row)}"
    yield "}"


def _reasons(row: Row) -> str:
    pairs = sorted({(reason["policy"], reason["code"]) for reason in json.loads(row["reasons"])})
    if not pairs:
        return "set()"
    return "{" + ", ".join(f"[{_text(policy)}, {_text(code)}]" for policy, code in pairs) + "}"


def _rego(value: Any, depth: int = 0) -> str:  # noqa: ANN401 - any JSON
    """A JSON value as `opa fmt` writes it, one entry a line."""
    inner, outer = "\t" * (depth + 1), "\t" * depth
    if isinstance(value, Mapping) and value:
        entries = [f"{inner}{_text(key)}: {_rego(entry, depth + 1)},\n" for key, entry in sorted(value.items())]
        return "{\n" + "".join(entries) + outer + "}"
    if isinstance(value, list) and value:
        return "[\n" + "".join(f"{inner}{_rego(entry, depth + 1)},\n" for entry in value) + outer + "]"
    return _text(value)


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON
    return json.dumps(value, ensure_ascii=False)
