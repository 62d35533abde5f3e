# METADATA
# title: Rollback
# description: Which steps are still to be taken back, in this order? Last completed first; the step that failed before all others.
# scope: subpackages
# schemas:
#   - input: schema.rollback_input
package kubernaut.gates.rollback

import data.kubernaut.lib.verdict as v

# METADATA
# description: The whole answer; defined for every input.
# entrypoint: true
default verdict := {
	"decision": "deny",
	"reasons": [{"code": "verdict_undefined", "message": "the gate could not judge this question", "policy": "rollback"}],
	"warnings": [],
	"facts": [],
	"undo": [],
	"overwrite": [],
	"stop_for_human": false,
}

verdict := object.union_n([
	v.document(deny, wait, warn, facts),
	{"undo": _undo, "overwrite": [], "stop_for_human": false},
	{"failure_reason": "policy_denied" | count(deny) > 0},
	{"next_check_seconds": 1 | count(wait) > 0},
])

# METADATA
# description: What packages on trial would have said.
# entrypoint: true
shadow contains v.reason(sprintf("shadow.rollback.%s", [name]), r) if {
	some name
	some r in data.kubernaut.shadow.rollback[name].deny
}

_asked if is_array(input.steps)

_undo := array.concat(_failed, _completed)

_failed := [step.stepNumber |
	some step in input.steps
	step.status in {"failed", "blocked"}
	_can_be_undone(step)
]

_completed := [entry[1] | some entry in array.reverse(sort(_by_completion))]

_by_completion contains [step.completionOrder, step.stepNumber] if {
	some step in input.steps
	step.status == "completed"
	_can_be_undone(step)
}

_can_be_undone(step) if {
	step.operationsSent == true
	step.reversible == true
}

_can_be_undone(step) if {
	step.operationsSent == true
	is_object(step.rollbackSpec)
}

facts contains r if {
	some name
	some r in data.kubernaut.rules.rollback[name].facts
}

deny contains {"code": "input_incomplete", "message": "the question lacks the steps", "policy": "rollback"} if not _asked

deny contains v.fact_conflict(id) if some id in v.conflicts(facts)

deny contains v.reason(sprintf("rules.rollback.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.rollback[name].deny
}

deny contains v.not_a_set(sprintf("rules.rollback.%s", [name]), rule) if {
	some rule in {"deny", "wait", "warn", "facts"}
	some name
	value := data.kubernaut.rules.rollback[name][rule]
	type_name(value) != "set"
}

wait contains v.reason(sprintf("rules.rollback.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.rollback[name].wait
}

warn contains {
	"code": "irreversible_step",
	"message": sprintf("step %d cannot be taken back and counts as undone", [step.stepNumber]),
	"policy": "rollback",
} if {
	some step in input.steps
	step.status == "completed"
	step.operationsSent == true
	step.reversible == false
}

warn contains v.reason(sprintf("rules.rollback.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.rollback[name].warn
}
