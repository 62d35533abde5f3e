"""The page of the gates: what each is asked, what it answers, and which rules a team may add."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from controller.policy import conventions
from controller.policy.reference.markdown import NOTE, code, links, paragraph, source, table
from controller.policy.reference.reading import Module, UndescribedError
from controller.policy.reference.reasons import Reason
from controller.policy.reference.shapes import Schema, Shapes, below

ASKED = {
    "planning": "once, on a new workflow whose graph is sound",
    "safety": "in validating, after the dry-run",
    "approval": "in validating, and again right before executing",
    "dispatch": "when steps could start",
    "action": "per attempt, before its operations are sent; in validating without an attempt, and then nothing is sent",
    "verify": "per attempt, after its operations were answered",
    "completion": "when an attempt ended well",
    "failure": "when an attempt failed, or a cancel was asked",
    "monitoring": "after the last step, until its window ends",
    "rollback": "before each undo",
}
# What the rules of a team do.
_EFFECTS = {
    "deny": "the answer is no",
    "wait": "the answer is not yet; it is asked again",
    "warn": "recorded among the warnings",
    "facts": "has something read, see [fact request](#fact-request); answered as `input.facts[id]`",
    "limit": "attempts of the workflow at once; the lowest of all counts",
    "hold": "keeps one step back",
    "skip": "leaves one step out, where the workflow's `adaptiveOrchestration` allows it",
    "adjust": "one of three changes, where the workflow's `adaptiveOrchestration` allows it: `max_parallel` steps at once, fewer than "
    "otherwise (`optimizationEnabled`); `timeout` for one attempt at a `step`, longer than its own, three times as long at most "
    "(`learningFromHistory`); another `value` of a `parameter` of a `step`, which lies `between` two or is `one_of` several "
    "(`dynamicStepAdjustment`)",
    "overwrite": "a step is taken back even where its target was changed since",
    "stop": "what is not taken back yet is left to people",
    "require_approval": "asks for people; the requester's own yes counts unless `not_requester` is true",
}
# Documents that several gates share: title, schema file, path.
_SHARED = (
    ("Workflow", "planning_input", "workflow"),
    ("Step", "planning_input", "steps[]"),
    ("Attempt", "action_input", "attempt"),
    ("Operation record", "action_input", "recorded[]"),
    ("Reason", "planning_verdict", "reasons[]"),
    ("Fact request", "planning_verdict", "facts[]"),
    ("Condition result", "action_verdict", "conditions[]"),
    ("Request", "action_verdict", "operations[].do"),
)


def render_gates(
    modules: Mapping[str, Module], schemas: Mapping[str, Schema], crds: Mapping[str, Schema], reasons: Sequence[Reason]
) -> str:
    """The page of the gates.

    Raises:
        UndescribedError: of a gate, or of a rule that it folds in, nothing is known here.
    """
    shipped = {package.rpartition(".")[2] for package in modules if package.startswith("kubernaut.gates.")}
    if shipped != ASKED.keys():
        raise UndescribedError(f"say in {__name__} when these gates are asked: {', '.join(sorted(shipped ^ ASKED.keys()))}")
    workflow, execution = crds["WorkflowExecution"], crds["KubernetesExecution"]
    steps = (below(workflow, "spec.workflowDefinition.steps[]"), below(workflow, "status.stepStatuses[]"))
    attempt = (below(execution, "status"), below(execution, "spec"))
    shapes = Shapes(
        {title: below(schemas[file], path) for title, file, path in _SHARED}, {"Workflow": (workflow,), "Step": steps, "Attempt": attempt}
    )
    page = [
        f"{NOTE}# Gates\n\n",
        table(["gate", "asked"], ((links([gate]), asked) for gate, asked in ASKED.items())),
        paragraph(
            "A question may lack any of its fields; a policy proves what it needs. An answer has all fields but those marked *optional*. "
            "The same, for programs, is in [schemas/](../../schemas/). How the controller reads an answer, and how a rule says no safely, "
            "is in the [policy contract](../policy-contract.md). Of the rules of teams, an entry of `deny`, `wait` or `warn` may be a code "
            "alone, and one of `require_approval` a text. Where a gate's codes are names of conditions, the `policy` of the reason is "
            "`catalogue.<action>`. The gate safety also says what [action](#action) said of each step in the dry-run."
        ),
    ]
    for gate, asked in ASKED.items():
        module, question, verdict = modules[f"kubernaut.gates.{gate}"], schemas[f"{gate}_input"], schemas[f"{gate}_verdict"]
        codes = sorted({reason.code for reason in reasons if gate in reason.gates})
        page += [
            f"## {gate}\n\n",
            paragraph(module.metadata["description"]),
            paragraph(f"**Asked** {asked}. Module: {source(module.file)}."),
            f"### What {gate} is asked\n\n" + paragraph(question["description"]) + _fields(shapes.rows(question)),
            f"### What {gate} answers\n\n" + paragraph(verdict["description"]) + _fields(_with_optional(shapes.rows(verdict), verdict)),
            f"### Rules that teams add to {gate}\n\nIn a package `kubernaut.rules.{gate}.<name>`, or `shadow` for `rules` on trial:\n\n",
            table(["rule", "may also have", "effect"], _team_rules(gate)),
            f"### Reason codes of {gate}\n\n" + paragraph(f"{links(codes, 'reasons.md')}."),
        ]
    page.append("## Documents that gates share\n\n")
    for title, schema in shapes.shared.items():
        page.append(f"### {title}\n\n" + paragraph(schema["description"]) + _fields(shapes.rows(schema, title)))
    return "".join(page)


def _fields(rows: Iterable[tuple[str, str, str]]) -> str:
    return table(["field", "type", "meaning"], ((path, kind, " ".join(meaning.replace("``", "`").split())) for path, kind, meaning in rows))


def _with_optional(rows: Iterable[tuple[str, str, str]], verdict: Schema) -> Iterator[tuple[str, str, str]]:
    optional = {code(name) for name in verdict["properties"].keys() - verdict["required"]}
    for path, kind, meaning in rows:
        yield path, kind, f"*optional*. {meaning}" if path in optional else meaning


def _team_rules(gate: str) -> Iterator[tuple[str, str, str]]:
    for rule, kind in conventions.rules_of_gate(gate).items():
        if rule not in _EFFECTS:
            raise UndescribedError(f"say in {__name__} what the rule {rule} of the gate {gate} does")
        form = conventions.FORMS[kind]
        more = sorted(name for name in conventions.FIELDS.get(kind, ()) if f'"{name}"' not in form)
        yield code(f"{rule} contains {form} if …"), ", ".join(map(code, more)), _EFFECTS[rule]
