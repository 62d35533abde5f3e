# METADATA
# title: Completion
# description: The attempt ended well; did the step reach what its author wanted? Judges the step's own postConditions by reference.
# scope: subpackages
# schemas:
#   - input: schema.completion_input
package kubernaut.gates.completion

import data.kubernaut.lib.clock
import data.kubernaut.lib.references
import data.kubernaut.lib.rules
import data.kubernaut.lib.verdict as v

# METADATA
# description: The whole answer; defined for every input.
# entrypoint: true
default verdict := {
	"decision": "deny",
	"reasons": [{
		"code": "verdict_undefined",
		"message": "the gate could not judge this question",
		"policy": "completion",
		"remedy": "a policy fails on this question; `phasegate policy status` lists the latest changes: take back the one that brought it",
	}],
	"warnings": [],
	"facts": [],
	"failure_reason": "postcondition_failed",
	"error_type": "execution_error",
	"conditions": [],
}

verdict := object.union_n([
	_answer,
	{"conditions": [references.reported(result) | some result in _judged]},
	v.blame(_answer, _failure_reason),
	{"next_check_seconds": _next_check | _answer.decision == "wait"},
])

# METADATA
# description: What packages on trial would have said; apart, so that their faults cannot touch a verdict.
# entrypoint: true
shadow := rules.on_trial("completion")

_answer := v.answer("completion", {"deny": _deny, "wait": _wait, "warn": _warn, "facts": _facts})

default _failure_reason := "postcondition_failed"

_failure_reason := "policy_denied" if {
	v.denied_by_team(_answer)
}

_sound if {
	is_number(input.step.stepNumber)
	is_string(input.attempt.name)
}

_deny contains {
	"code": "input_incomplete",
	"message": "the question lacks the step or its attempt",
	"policy": "completion",
	"remedy": "the controller did not ask as this policy expects: deploy the controller and the policies of one release",
} if not _sound

_facts contains request if some request in references.facts(input.step, "postConditions")

_settled if v.settled("completion", _facts)

default _judged := []

_judged := references.judged(input.step, "postConditions")

_unmet contains result if {
	some result in _judged
	result.required
	result.passed == false
}

_in_time contains result if {
	some result in _unmet
	_elapsed(result) < result.seconds
}

_elapsed(result) := clock.elapsed(object.get(input, ["since", result.type], input.now))

_waited := 0 if {
	count(_unmet) == 0
} else := max([_elapsed(result) | some result in _unmet])

_next_check := 2 if {
	v.held_by_team(_answer)
} else := clock.next_check(_waited)

_deny contains references.reason("completion", "postcondition_failed", result) if {
	_settled
	some result in (_unmet - _in_time)
}

_wait contains references.reason("completion", "postcondition_unmet", result) if {
	_settled
	some result in _in_time
}

_warn contains references.reason("completion", "postcondition_unmet", result) if {
	some result in _judged
	result.required == false
	result.passed == false
}
