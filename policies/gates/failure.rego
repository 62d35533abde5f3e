# METADATA
# title: Failure
# description: An attempt failed, or a cancel was asked; what happens now? The action is taken whether the decision is allow or deny.
# scope: subpackages
# schemas:
#   - input: schema.failure_input
package kubernaut.gates.failure

import data.kubernaut.lib.clock
import data.kubernaut.lib.rules
import data.kubernaut.lib.undo
import data.kubernaut.lib.verdict as v

# METADATA
# description: The whole answer; defined for every input. The default takes the safe way, no further step and nothing undone blindly.
# entrypoint: true
default verdict := {
	"decision": "deny",
	"reasons": [{
		"code": "verdict_undefined",
		"message": "the gate could not judge this question",
		"policy": "failure",
		"remedy": "a policy fails on this question; `phasegate policy status` lists the latest changes: take back the one that brought it",
	}],
	"warnings": [],
	"facts": [],
	"action": "fail",
	"delay_seconds": 0,
}

verdict := object.union_n([
	_answer,
	{"action": _action, "delay_seconds": _delay, "failure_reason": _failure_reason},
	{"error_type": _error_type | _answer.decision == "deny"},
	{"next_check_seconds": 1 | _answer.decision == "wait"},
])

# METADATA
# description: What packages on trial would have said; apart, so that their faults cannot touch a verdict.
# entrypoint: true
shadow := rules.on_trial("failure")

_answer := v.answer("failure", {"deny": _deny, "wait": set(), "warn": set(), "facts": set()})

_cancelled if "cancel" in object.keys(input)

_sound if {
	_cancelled
	is_object(input.workflow.spec)
}

_sound if {
	is_object(input.workflow.spec)
	is_number(input.step.stepNumber)
	is_string(input.attempt.errorType)
}

_deny contains {
	"code": "input_incomplete",
	"message": "the question lacks the workflow, the step or its attempt",
	"policy": "failure",
	"remedy": "the controller did not ask as this policy expects: deploy the controller and the policies of one release",
} if not _sound

# A team's denial takes the mild ways out: what failed is neither tried again nor passed over. Of a question that cannot be judged nothing
# is concluded but that the workflow fails.

default _action := "fail"

_action := "retry" if {
	_answer.decision != "deny"
	_may_retry
} else := "continue" if {
	_answer.decision != "deny"
	not _cancelled
	input.step.criticalStep == false
} else := "block" if {
	_sound
	not _cancelled
	_refused_untouched
} else := "rollback" if {
	_sound
	_strategy == "automatic"
	_something_to_undo
} else := "degrade" if {
	_sound
	_strategy == "manual"
	_for_people
}

default _failure_reason := "step_execution_failed"

_failure_reason := "cancelled" if {
	_cancelled
} else := input.attempt.failureReason if {
	is_string(input.attempt.failureReason)
}

# The attempt says best what went wrong, in one of the words that there are.
_error_type := input.attempt.errorType if {
	input.attempt.errorType in _error_types
} else := v.error_type(_failure_reason)

_error_types := _permanent | {"execution_error", "resource_conflict", "timeout"}

# Trying again cannot help with these.
_permanent := {"validation_error", "insufficient_permissions", "policy_denied"}

_may_retry if {
	not _cancelled
	count({input.attempt.errorType} & _permanent) == 0
	_retries < _allowed_retries
}

_retries := object.get(input.step, "retriesAttempted", 0)

_allowed_retries := input.step.maxRetries if {
	is_number(input.step.maxRetries)
} else := object.get(input.workflow.spec, ["executionStrategy", "maxRetries"], 0)

# Exponential, between half and the whole of the turn's delay. The share hangs on the attempt alone, so asking twice answers the same.
default _delay := 0

_delay := (min([_longest, _base * bits.lsh(1, min([_retries, 20]))]) * (128 + _share)) / 255 if _action == "retry"

default _base := 60

_base := clock.setting("retry-base-delay")

default _longest := 60

_longest := clock.setting("retry-max-delay")

default _share := 127

# The last two hexadecimal digits of a digest of the attempt's name, halved: 0 to 127.
_share := floor(_byte / 2) if {
	digest := crypto.sha256(sprintf("%s %v", [input.attempt.name, _retries]))
	_byte := (16 * indexof("0123456789abcdef", substring(digest, 0, 1))) + indexof("0123456789abcdef", substring(digest, 1, 1))
}

# Policy or a precondition said no before anything of this step was sent.
_refused_untouched if {
	input.attempt.failureReason in {"policy_denied", "precondition_failed", "resource_not_found"}
	is_array(object.get(input.attempt, "operations", []))
	count([operation | some operation in input.attempt.operations; "sentAt" in object.keys(operation)]) == 0
	object.get(input.step, "operationsSent", false) == false
}

default _strategy := "automatic"

_strategy := input.workflow.spec.executionStrategy.rollbackStrategy

_something_to_undo if count(undo.candidates(input.steps)) > 0

# A step that failed is people's business in any case; of a cancel nothing is left to do where there is nothing to undo.
_for_people if not _cancelled

_for_people if _something_to_undo

# The step that failed may not be among the started ones as they were read.
_something_to_undo if undo.is_candidate(input.step)
