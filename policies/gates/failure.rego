# METADATA
# title: Failure
# description: An attempt failed, or a cancel was asked; what happens now? The action is taken when the decision is allow or deny.
# scope: subpackages
# schemas:
#   - input: schema.failure_input
package kubernaut.gates.failure

import data.kubernaut.lib.clock
import data.kubernaut.lib.verdict as v

# METADATA
# description: The whole answer; defined for every input. The default takes the safe way, no further step and nothing undone blindly.
# entrypoint: true
default verdict := {
	"decision": "deny",
	"reasons": [{"code": "verdict_undefined", "message": "the gate could not judge this question", "policy": "failure"}],
	"warnings": [],
	"facts": [],
	"action": "fail",
	"delay_seconds": 0,
}

verdict := object.union_n([
	v.document(deny, wait, warn, facts),
	{"action": _action, "delay_seconds": _delay},
	{"failure_reason": reason | reason := _failure_reason},
	{"next_check_seconds": 1 | count(wait) > 0},
])

# METADATA
# description: What packages on trial would have said.
# entrypoint: true
shadow contains v.reason(sprintf("shadow.failure.%s", [name]), r) if {
	some name
	some r in data.kubernaut.shadow.failure[name].deny
}

# Trying again cannot help with these.
_permanent := {"validation_error", "insufficient_permissions", "policy_denied"}

_cancelled if is_object(input.cancel)

_asked if _cancelled

_asked if {
	is_number(input.step.stepNumber)
	is_string(input.attempt.errorType)
}

_retries_left if {
	not _cancelled
	not _hopeless
	input.step.retriesAttempted < input.step.maxRetries
}

_hopeless if input.attempt.errorType in _permanent

_untouched if {
	input.attempt.failureReason in {"policy_denied", "precondition_failed", "resource_not_found"}
	count(_sent) == 0
}

_sent contains operation if {
	some operation in input.attempt.operations
	is_string(operation.sentAt)
}

_anything_to_undo if {
	some step in input.steps
	step.operationsSent == true
}

_anything_to_undo if count(_sent) > 0

_strategy := object.get(input.workflow.spec, ["executionStrategy", "rollbackStrategy"], "automatic")

# The rules of one site may forbid what this gate would do: then the workflow only fails.
_action := "fail" if {
	count(deny) > 0
} else := "retry" if {
	_retries_left
} else := "continue" if {
	input.step.criticalStep == false
} else := "block" if {
	not _cancelled
	_untouched
} else := "rollback" if {
	_strategy == "automatic"
	_anything_to_undo
} else := "degrade" if {
	_strategy == "manual"
	_anything_to_undo
} else := "fail"

_failure_reason := "cancelled" if _cancelled

_failure_reason := input.attempt.failureReason if not _cancelled

# Exponential, between half and the whole of the step's turn; the share depends on the attempt alone, so asking twice answers the same.
default _delay := 0

_delay := min([clock.setting("retry-max-delay"), clock.setting("retry-base-delay") * _power]) * ((50 + _share) / 100) if {
	_action == "retry"
}

_power := bits.lsh(1, min([input.step.retriesAttempted, 20]))

_share := to_number(regex.replace(substring(crypto.sha256(input.attempt.name), 0, 2), `[a-f]`, "5")) % 51

facts contains r if {
	some name
	some r in data.kubernaut.rules.failure[name].facts
}

deny contains {"code": "input_incomplete", "message": "the question lacks the step or its attempt", "policy": "failure"} if not _asked

deny contains v.fact_conflict(id) if some id in v.conflicts(facts)

deny contains v.reason(sprintf("rules.failure.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.failure[name].deny
}

deny contains v.not_a_set(sprintf("rules.failure.%s", [name]), rule) if {
	some rule in {"deny", "wait", "warn", "facts"}
	some name
	value := data.kubernaut.rules.failure[name][rule]
	type_name(value) != "set"
}

wait contains v.reason(sprintf("rules.failure.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.failure[name].wait
}

warn contains v.reason(sprintf("rules.failure.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.failure[name].warn
}
