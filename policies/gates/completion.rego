# METADATA
# title: Completion
# description: The attempt ended well; does the step reach what its author wanted? Judges the step's own postConditions with a reference.
# scope: subpackages
# schemas:
#   - input: schema.completion_input
package kubernaut.gates.completion

import data.kubernaut.lib.clock
import data.kubernaut.lib.verdict as v

# METADATA
# description: The whole answer; defined for every input.
# entrypoint: true
default verdict := {
	"decision": "deny",
	"reasons": [{"code": "verdict_undefined", "message": "the gate could not judge this question", "policy": "completion"}],
	"warnings": [],
	"facts": [],
	"conditions": [],
}

verdict := object.union_n([
	v.document(deny, wait, warn, facts),
	{"conditions": [condition | some condition in _conditions]},
	{"failure_reason": "postcondition_failed" | count(_late) > 0},
	{"next_check_seconds": 1 | count(wait) > 0},
])

# METADATA
# description: What packages on trial would have said.
# entrypoint: true
shadow contains v.reason(sprintf("shadow.completion.%s", [name]), r) if {
	some name
	some r in data.kubernaut.shadow.completion[name].deny
}

_asked if {
	is_number(input.step.stepNumber)
	is_string(input.attempt.name)
}

_referring contains entry if {
	some entry in input.step.postConditions
	object.get(entry, "rego", "") != ""
}

_conditions contains {
	"type": entry.type,
	"required": object.get(entry, "required", true),
	"passed": _proven(entry.rego),
	"message": object.get(entry, "description", entry.type),
} if {
	some entry in _referring
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

_unmet contains entry if {
	some entry in _referring
	object.get(entry, "required", true) == true
	_proven(entry.rego) == false
}

_in_time contains entry if {
	some entry in _unmet
	since := object.get(input, ["since", entry.type], input.now)
	clock.elapsed(since) < clock.seconds(object.get(entry, "timeout", "0s"))
}

_late contains entry if {
	some entry in _unmet
	not entry in _in_time
}

_reason(entry) := {
	"code": "postcondition_failed",
	"message": sprintf("%s does not hold", [entry.type]),
	"policy": "completion",
}

facts contains r if {
	some name
	some r in data.kubernaut.rules.completion[name].facts
}

deny contains {"code": "input_incomplete", "message": "the question lacks the step or its attempt", "policy": "completion"} if not _asked

deny contains _reason(entry) if some entry in _late

deny contains v.fact_conflict(id) if some id in v.conflicts(facts)

deny contains v.reason(sprintf("rules.completion.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.completion[name].deny
}

deny contains v.not_a_set(sprintf("rules.completion.%s", [name]), rule) if {
	some rule in {"deny", "wait", "warn", "facts"}
	some name
	value := data.kubernaut.rules.completion[name][rule]
	type_name(value) != "set"
}

wait contains _reason(entry) if some entry in _in_time

wait contains v.reason(sprintf("rules.completion.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.completion[name].wait
}

warn contains v.reason(sprintf("rules.completion.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.completion[name].warn
}
