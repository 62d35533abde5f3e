# METADATA
# title: Action
# description: May this attempt send its operations, which are they, and as whom? Without an attempt (in validating) nothing is sent.
# scope: subpackages
# schemas:
#   - input: schema.action_input
package kubernaut.gates.action

import data.kubernaut.lib.conditions
import data.kubernaut.lib.operations
import data.kubernaut.lib.rules
import data.kubernaut.lib.targets
import data.kubernaut.lib.verdict as v

# METADATA
# description: The whole answer; defined for every input.
# entrypoint: true
default verdict := {
	"decision": "deny",
	"reasons": [{
		"code": "verdict_undefined",
		"message": "the gate could not judge this question",
		"policy": "action",
		"remedy": "a policy fails on this question; `phasegate policy status` lists the latest changes: take back the one that brought it",
	}],
	"warnings": [],
	"facts": [],
	"failure_reason": "policy_denied",
	"error_type": "policy_denied",
	"operations": [],
	"conditions": [],
	"service_account": "",
	"executor": "api",
	"timeout_seconds": 0,
	"parameters_valid": false,
	"resource_exists": null,
	"reversible": false,
}

verdict := object.union_n([
	_answer,
	{
		"operations": [operation | some operation in _operations; _answer.decision == "allow"],
		"conditions": conditions.results(_judged, _holds),
		"service_account": _service_account,
		"executor": _executor,
		"timeout_seconds": _timeout,
		"parameters_valid": _parameters_accepted,
		"resource_exists": _resource_exists,
		"reversible": _reversible,
		"irreversible_reason": _irreversible_reason,
		"state": _state,
	},
	v.blame(_answer, _failure_reason),
	{"next_check_seconds": _next_check | _answer.decision == "wait"},
])

# METADATA
# description: What packages on trial would have said; apart, so that their faults cannot touch a verdict.
# entrypoint: true
shadow := rules.on_trial("action")

_answer := v.answer("action", {"deny": _deny, "wait": _wait, "warn": _warn, "facts": _facts})

default _failure_reason := "policy_denied"

_failure_reason := "resource_not_found" if {
	not _refused_by_team
	_settled
	some type in _hopeless
	endswith(type, "_exists")
} else := "precondition_failed" if {
	not _refused_by_team
	_settled
	count(_hopeless) > 0
}

_refused_by_team if v.denied_by_team(_answer)

# The catalogue's entry. Everything is read by reference: what an action does not say has the strictest meaning.

_known if is_array(data.kubernaut.actions[input.step.action].permissions)

_deny contains {
	"code": "action_unknown",
	"message": "the catalogue has no such action",
	"policy": "action",
	"remedy": sprintf("use one of: %s", [concat(", ", sort({name | is_array(data.kubernaut.actions[name].permissions)}))]),
} if not _known

default _service_account := ""

_service_account := account if {
	account := data.kubernaut.actions[input.step.action].service_account
	is_string(account)
}

default _executor := "api"

_executor := "job" if data.kubernaut.actions[input.step.action].executor == "job"

default _timeout := 0

_timeout := seconds if {
	seconds := data.kubernaut.actions[input.step.action].timeout_seconds
	is_number(seconds)
}

default _reversible := false

_reversible if data.kubernaut.actions[input.step.action].reversible == true

default _irreversible_reason := ""

_irreversible_reason := why if {
	why := data.kubernaut.actions[input.step.action].irreversible_reason
	is_string(why)
}

default _state := {}

_state := state if {
	_settled
	state := data.kubernaut.actions[input.step.action].state
	is_object(state)
}

# Who asks: nobody yet (the workflow is being validated), an attempt, or an attempt to take another one back.

_attempted if "attempt" in object.keys(input)

_undoing if "undo" in object.keys(input)

_listed if input.attempt.owned == true

_deny contains {
	"code": "attempt_not_listed",
	"message": "no live workflow owns this attempt and lists it as its current one",
	"policy": "action",
	"remedy": "attempts are made by the controller only; delete this one",
} if {
	_attempted
	not _listed
}

# An approval speaks for the modules of the plan's actions. A recorded undo is no module's work.

_recorded if count(input.workflow.status.actionDigests) > 0

_plan_kept if input.workflow.status.actionDigests[input.step.action] == data.kubernaut.modules.actions[input.step.action]

_deny contains {
	"code": "plan_changed",
	"message": "the module of this action is not the one that the approved plan used",
	"policy": "action",
	"remedy": "apply the workflow again under a new name and have the new plan approved",
} if {
	_recorded
	not _undoing
	not _plan_kept
}

_parameters_valid if data.kubernaut.actions[input.step.action].parameters_valid == true

_deny contains {
	"code": "parameters_invalid",
	"message": "the parameters are not what this action needs",
	"policy": "action",
	"remedy": "see the fields and bounds of this action in the reference of its parameters",
} if {
	not _undoing
	not _parameters_valid
}

default _parameters_accepted := false

_parameters_accepted if _parameters_valid

# What has to be known. The facts of an undo are on record, and of what is out of reach nothing is read.

_facts contains request if {
	_within_reach
	some request in data.kubernaut.actions[input.step.action].facts
}

_settled if v.settled("action", _facts)

_within_reach if {
	not _undoing
	count(targets.reachable_of(input.step)) > 0
}

# Conditions of the catalogue. They are not judged for an undo.

default _judged := {}

_judged := conditions.terms(data.kubernaut.actions[input.step.action].preconditions, "preconditions") if _within_reach

_declared if is_object(data.kubernaut.actions[input.step.action].preconditions)

_deny contains {
	"code": "preconditions_undefined",
	"message": "the action does not declare its preconditions",
	"policy": "action",
	"remedy": "write `preconditions := {}` in the action's module if it has none",
} if {
	_known
	not _declared
}

_holds contains type if some type in data.kubernaut.actions[input.step.action].holds

_unmet := conditions.unmet(_judged, _holds, true)

# Without an attempt there is no time to wait in: the workflow would be refused or started now.
default _in_time := set()

_in_time := conditions.in_time(_judged, _unmet) if _attempted

_hopeless := _unmet - _in_time

_unmet_reason(type) := conditions.reason(type, _judged[type])

_deny contains _unmet_reason(type) if {
	_settled
	some type in _hopeless
}

_wait contains _unmet_reason(type) if {
	_settled
	some type in _in_time
}

_warn contains _unmet_reason(type) if {
	_settled
	some type in conditions.unmet(_judged, _holds, false)
}

# Whether what the action needs is there, once that is known.
default _resource_exists := null

_resource_exists if {
	_settled
	count(_existence) > 0
	count(_existence & _unmet) == 0
} else := false if {
	_settled
	count(_existence) > 0
}

_existence contains type if {
	some type, _ in _judged
	endswith(type, "_exists")
}

default _next_check := 0.5

_next_check := 2 if v.held_by_team(_answer)

# What is sent.

_answerable if _undoing

_answerable if {
	_parameters_valid
	_within_reach
}

default _operations := []

_operations := input.undo if {
	_undoing
	is_array(input.undo)
}

_operations := operations if {
	_within_reach
	_settled
	count(_unmet) == 0
	operations := data.kubernaut.actions[input.step.action].operations
	is_array(operations)
}

_sends_nothing if {
	not _undoing
	data.kubernaut.actions[input.step.action].no_operations == true
}

_usable := [operation | some operation in _operations; operations.is_usable(operation)]

_deny contains {
	"code": "operations_malformed",
	"message": "an operation has not the form of a request, so it cannot be sent as it was meant",
	"policy": "action",
	"remedy": "mend the rule `operations` of the action's module",
} if {
	count(_usable) < count(_operations)
}

_deny contains {
	"code": "operations_undefined",
	"message": "the action gives no operations for what was read",
	"policy": "action",
	"remedy": "mend the rule `operations` of the action's module, or say `no_operations := true`",
} if {
	_answerable
	_settled
	count(_unmet) == 0
	count(_operations) == 0
	not _sends_nothing
}

# Where it is sent: to the workflow's own namespace, unless the workflow is of a trusted one.

default _target := {}

_target := targets.of(input.step)

_places contains object.get(_target, "namespace", "") if {
	not _undoing
	count(_target) > 0
}

_places contains object.get(operation.do, "namespace", "") if some operation in _usable

# A way back that could never be gone would be no way back.
_places contains object.get(operation.undo, "namespace", "") if {
	some operation in _usable
	is_object(operation.undo)
}

_foreign := {place | some place in _places} - {place | some place in _places; targets.reachable(place)}

_deny contains {
	"code": "target_not_determined",
	"message": "the parameters do not say which object is meant",
	"policy": "action",
	"remedy": "see the fields of this action in the reference of its parameters",
} if {
	_known
	not _undoing
	count(_target) == 0
}

_deny contains {
	"code": "target_outside_namespace",
	"message": sprintf("the workflow may act in its own namespace only, not in %s", [place]),
	"policy": "action",
	"remedy": "run the workflow in the target's namespace, or in one of the setting trusted-namespaces",
} if {
	some place in _foreign
	place != ""
}

_deny contains {
	"code": "target_cluster_scoped",
	"message": "only workflows of trusted namespaces may act on cluster-scoped objects",
	"policy": "action",
	"remedy": "run the workflow in kubernaut-system, or in one of the setting trusted-namespaces",
} if {
	"" in _foreign
}
