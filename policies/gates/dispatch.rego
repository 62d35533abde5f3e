# METADATA
# title: Dispatch
# description: Which of the steps that could start do start now? The lists take effect with the decision allow only.
# scope: subpackages
# schemas:
#   - input: schema.dispatch_input
package kubernaut.gates.dispatch

import data.kubernaut.lib.clock
import data.kubernaut.lib.verdict as v

# METADATA
# description: The whole answer; defined for every input.
# entrypoint: true
default verdict := {
	"decision": "deny",
	"reasons": [{"code": "verdict_undefined", "message": "the gate could not judge this question", "policy": "dispatch"}],
	"warnings": [],
	"facts": [],
	"start": [],
	"hold": [],
	"skip": [],
	"block": [],
	"max_parallel": 0,
	"conditions": [],
	"adjustments": [],
}

verdict := object.union_n([
	v.document(deny, wait, warn, facts),
	{
		"start": array.slice(_startable, 0, _free),
		"hold": _grouped(_held),
		"skip": [{"step": step, "reason": min(reasons)} | some step, reasons in _skipped],
		"block": _grouped(_blocked),
		"max_parallel": max_parallel,
		"conditions": [condition | some condition in _conditions],
		"adjustments": [],
	},
	{"failure_reason": "policy_denied" | count(deny) > 0},
	{"next_check_seconds": 1 | count(_pending) > 0},
])

# METADATA
# description: What packages on trial would have said.
# entrypoint: true
shadow contains v.reason(sprintf("shadow.dispatch.%s", [name]), r) if {
	some name
	some r in data.kubernaut.shadow.dispatch[name].deny
}

shadow contains {"code": "limit", "message": sprintf("%v", [n]), "policy": sprintf("shadow.dispatch.%s", [name])} if {
	some name
	some n in data.kubernaut.shadow.dispatch[name].limit
}

# How many at once: the lowest of what the site, the workflow and the teams say.

# METADATA
# description: The number of attempts that may run at once.
max_parallel := min(_limits)

_site_limit := data.kubernaut.settings["max-parallel-steps"]

_limits contains 1 if not _site_limited

_limits contains _site_limit if _site_limited

_site_limited if is_number(_site_limit)

_limits contains input.workflow.spec.executionStrategy.maxParallelSteps

_limits contains n if {
	some name
	some n in data.kubernaut.rules.dispatch[name].limit
	is_number(n)
}

_free := max([0, floor(max_parallel) - count(input.running)])

# input.ready is in plan order; what is held, skipped or blocked falls out.
_startable := [n |
	some n in input.ready
	not _held[n]
	not _skipped[n]
	not _blocked[n]
]

# The step's own preconditions that refer to a package of a policy ConfigMap. Those of the catalogue are judged by the attempt.

_conditions contains {
	"step": step.stepNumber,
	"type": condition.type,
	"required": object.get(condition, "required", true),
	"passed": _proven(condition.rego),
	"message": object.get(condition, "description", condition.type),
} if {
	some step in input.steps
	step.stepNumber in input.ready
	some condition in step.preConditions
	object.get(condition, "rego", "") != ""
}

_proven(reference) if {
	parts := split(reference, ":")
	name := data.kubernaut.references[sprintf("%s:%s", [parts[0], parts[1]])]
	_truth(data.kubernaut.conditions[name][parts[2]])
} else := false

_truth(value) if value == true

_truth(value) if {
	is_set(value)
	count(value) > 0
}

_unmet contains condition if {
	some condition in _conditions
	condition.required
	condition.passed == false
}

_pending contains condition if {
	some condition in _unmet
	since := object.get(input, ["since", sprintf("%d/%s", [condition.step, condition.type])], input.now)
	clock.elapsed(since) < clock.seconds(_timeout(condition))
}

_timeout(condition) := timeout if {
	some step in input.steps
	step.stepNumber == condition.step
	some entry in step.preConditions
	entry.type == condition.type
	timeout := entry.timeout
} else := "0s"

_unmet_reason(condition) := {
	"code": "precondition_failed",
	"message": sprintf("%s does not hold", [condition.type]),
	"policy": "dispatch",
}

# Per step: step number → set of reasons.

_held[condition.step] contains _unmet_reason(condition) if some condition in _pending

_held[hold.step] contains v.reason(sprintf("rules.dispatch.%s", [name]), object.remove(hold, {"step"})) if {
	some name
	some hold in data.kubernaut.rules.dispatch[name].hold
}

_skipped[skip.step] contains v.reason(sprintf("rules.dispatch.%s", [name]), object.remove(skip, {"step"})) if {
	some name
	some skip in data.kubernaut.rules.dispatch[name].skip
}

_blocked[condition.step] contains _unmet_reason(condition) if {
	some condition in _unmet
	not condition in _pending
}

_grouped(reasons_by_step) := [{"step": step, "reasons": sort(reasons)} | some step, reasons in reasons_by_step]

facts contains r if {
	some name
	some r in data.kubernaut.rules.dispatch[name].facts
}

_complete if {
	is_array(input.ready)
	is_array(input.running)
	is_object(input.workflow.spec)
}

_active if not _suspended

_suspended if input.workflow.spec.suspend == true

deny contains {"code": "input_incomplete", "message": "the question lacks the workflow, ready or running", "policy": "dispatch"} if not _complete

deny contains v.fact_conflict(id) if some id in v.conflicts(facts)

deny contains v.reason(sprintf("rules.dispatch.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.dispatch[name].deny
}

deny contains v.not_a_set(sprintf("rules.dispatch.%s", [name]), rule) if {
	some rule in {"deny", "wait", "warn", "facts", "limit", "hold", "skip"}
	some name
	value := data.kubernaut.rules.dispatch[name][rule]
	type_name(value) != "set"
}

deny contains {
	"code": "limit_is_not_a_number",
	"message": "a team's limit is not a number, so it would be ignored",
	"policy": sprintf("rules.dispatch.%s", [name]),
	"remedy": "write `limit contains 3`",
} if {
	some name
	some n in data.kubernaut.rules.dispatch[name].limit
	not is_number(n)
}

wait contains {
	"code": "suspended",
	"message": "the workflow is suspended",
	"policy": "dispatch",
	"remedy": "set spec.suspend to false",
} if not _active

wait contains {
	"code": "parallel_limit",
	"message": sprintf("%d steps at once are allowed, and as many run", [floor(max_parallel)]),
	"policy": "dispatch",
} if {
	_free == 0
	count(_startable) > 0
	count(_skipped) + count(_blocked) == 0
}

wait contains {"code": "steps_held", "message": "every step that could start is held back", "policy": "dispatch"} if {
	(count(_startable) + count(_skipped)) + count(_blocked) == 0
	count(_held) > 0
}

wait contains v.reason(sprintf("rules.dispatch.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.dispatch[name].wait
}

warn contains v.reason(sprintf("rules.dispatch.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.dispatch[name].warn
}
