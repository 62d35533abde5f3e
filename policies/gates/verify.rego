# METADATA
# title: Verify
# description: Did the operations have the effect that the action promises? Waits, condition by condition, as long as there is time.
# scope: subpackages
# schemas:
#   - input: schema.verify_input
package kubernaut.gates.verify

import data.kubernaut.lib.clock
import data.kubernaut.lib.conditions
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
		"policy": "verify",
		"remedy": "a policy fails on this question; `phasegate policy status` lists the latest changes: take back the one that brought it",
	}],
	"warnings": [],
	"facts": [],
	"failure_reason": "policy_denied",
	"error_type": "policy_denied",
	"conditions": [],
	"result": {},
}

verdict := object.union_n([
	_answer,
	{
		"conditions": conditions.results(_judged, _holds),
		"result": _result,
		"service_account": _service_account,
	},
	v.blame(_answer, _failure_reason),
	{"next_check_seconds": _next_check | _answer.decision == "wait"},
])

# METADATA
# description: What packages on trial would have said; apart, so that their faults cannot touch a verdict.
# entrypoint: true
shadow := rules.on_trial("verify")

_answer := v.answer("verify", {"deny": _deny, "wait": _wait, "warn": _warn, "facts": _facts})

default _failure_reason := "policy_denied"

_failure_reason := "postcondition_failed" if {
	count(_late) > 0
	_settled
}

_sound if {
	is_array(data.kubernaut.actions[input.step.action].permissions)
	is_object(data.kubernaut.actions[input.step.action].postconditions)
}

_deny contains {
	"code": "action_unknown",
	"message": "the catalogue has no such action any more, so nobody can tell whether it worked",
	"policy": "verify",
	"remedy": "look at the target yourself; put the action's module back before it is used again",
} if not _sound

_attempted if {
	is_object(input.attempt)
	is_string(input.workflow.metadata.namespace)
}

_deny contains {
	"code": "input_incomplete",
	"message": "the question lacks the attempt or its workflow",
	"policy": "verify",
	"remedy": "the controller did not ask as this policy expects: deploy the controller and the policies of one release",
} if not _attempted

# As this account the facts are read.
default _service_account := ""

_service_account := account if {
	account := data.kubernaut.actions[input.step.action].service_account
	is_string(account)
}

_facts contains request if some request in data.kubernaut.actions[input.step.action].facts

_settled if v.settled("verify", _facts)

default _judged := {}

_judged := conditions.terms(data.kubernaut.actions[input.step.action].postconditions, "postconditions")

_holds contains type if some type in data.kubernaut.actions[input.step.action].holds

_unmet := conditions.unmet(_judged, _holds, true)

_in_time := conditions.in_time(_judged, _unmet)

_late := _unmet - _in_time

_unmet_reason(type) := conditions.reason(type, _judged[type])

_deny contains _unmet_reason(type) if {
	_settled
	some type in _late
}

_wait contains _unmet_reason(type) if {
	_settled
	some type in _in_time
}

_warn contains _unmet_reason(type) if {
	_settled
	some type in conditions.unmet(_judged, _holds, false)
}

_waited := max(array.concat([0], [conditions.waited(type) | some type in _unmet]))

_next_check := 2 if {
	v.held_by_team(_answer)
} else := clock.next_check(_waited)

# What is reported. A result that cannot be built takes nothing away from what was proven.
default _result := {}

_result := result if {
	_settled
	result := data.kubernaut.actions[input.step.action].result
	is_object(result)
}
