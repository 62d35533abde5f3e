# METADATA
# title: Action
# description: May this attempt send its operations, which are they, and as whom? Without an attempt (in validating) nothing is sent.
# scope: subpackages
# schemas:
#   - input: schema.action_input
package kubernaut.gates.action

import data.kubernaut.lib.conditions as terms
import data.kubernaut.lib.verdict as v

# METADATA
# description: The whole answer; defined for every input.
# entrypoint: true
default verdict := {
	"decision": "deny",
	"reasons": [{"code": "verdict_undefined", "message": "the gate could not judge this question", "policy": "action"}],
	"warnings": [],
	"facts": [],
	"operations": [],
	"conditions": [],
	"service_account": "",
	"executor": "api",
	"timeout_seconds": 0,
	"reversible": false,
}

verdict := object.union_n([
	v.document(deny, wait, warn, facts),
	{
		"operations": _allowed_operations,
		"conditions": _conditions,
		"service_account": _service_account,
		"executor": _executor,
		"timeout_seconds": _timeout,
		"reversible": _reversible,
	},
	{"failure_reason": reason | reason := _failure_reason},
	{"irreversible_reason": reason | reason := data.kubernaut.actions[input.step.action].irreversible_reason},
	{"next_check_seconds": 0.5 | count(wait) > 0},
])

# METADATA
# description: What packages on trial would have said; apart, so that their faults cannot touch a verdict.
# entrypoint: true
shadow contains v.reason(sprintf("shadow.action.%s", [name]), r) if {
	some name
	some r in data.kubernaut.shadow.action[name].deny
}

_known if is_string(data.kubernaut.actions[input.step.action].service_account)

_parameters_valid if data.kubernaut.actions[input.step.action].parameters_valid

_target := data.kubernaut.actions[input.step.action].target

_undoing if is_array(input.undo)

_rehearsing if not _attempted

_attempted if is_object(input.attempt)

_owned if input.attempt.owned == true

# Operations: those of the catalogue, or the recorded undo as it is.

_operations := input.undo if {
	_undoing
} else := data.kubernaut.actions[input.step.action].operations

default _allowed_operations := []

_allowed_operations := [operation | some operation in _operations] if {
	count(deny) == 0
	count(wait) == 0
	v.settled(facts)
}

default _service_account := ""

_service_account := data.kubernaut.actions[input.step.action].service_account

default _executor := "api"

_executor := data.kubernaut.actions[input.step.action].executor

default _timeout := 0

_timeout := data.kubernaut.actions[input.step.action].timeout_seconds

default _reversible := false

_reversible := data.kubernaut.actions[input.step.action].reversible

# Facts: the catalogue's and the teams'. An undo needs none of the catalogue's: its pre-image is on record.

facts contains r if {
	not _undoing
	some r in data.kubernaut.actions[input.step.action].facts
}

facts contains r if {
	some name
	some r in data.kubernaut.rules.action[name].facts
}

# Conditions of the catalogue. They are not judged for an undo.

_declared := data.kubernaut.actions[input.step.action].preconditions if not _undoing

_judged := terms.terms(_declared, "preconditions")

_holds contains type if some type in data.kubernaut.actions[input.step.action].holds

default _conditions := []

_conditions := terms.results(_judged, _holds)

_unmet := terms.unmet(_judged, _holds, true)

_hopeless contains type if {
	some type in _unmet
	_rehearsing
}

_hopeless contains type if {
	some type in _unmet
	not _in_time[type]
}

_in_time contains type if {
	some type in _unmet
	terms.in_time(type, _judged[type])
}

_facts_read if {
	v.settled(facts)
	count(v.conflicts(facts)) == 0
}

# Where an attempt may act.

_trusted if input.workflow.metadata.namespace == "kubernaut-system"

_trusted if input.workflow.metadata.namespace in data.kubernaut.settings["trusted-namespaces"]

_places contains object.get(_target, "namespace", "") if not _undoing

_places contains object.get(operation.do, "namespace", "") if some operation in _operations

_at_home[place] if {
	some place in _places
	place == input.workflow.metadata.namespace
}

_at_home[place] if {
	some place in _places
	_trusted
}

_has_target if is_string(_target.name)

_has_target if data.kubernaut.actions[input.step.action].no_operations == true

_has_target if _undoing

# The plan that was approved speaks for the modules of its actions.

_plan_kept if not _digests_recorded

_plan_kept if input.workflow.status.actionDigests[input.step.action] == data.kubernaut.modules.actions[input.step.action]

_digests_recorded if is_string(input.workflow.status.actionDigests[input.step.action])

# Denials.

deny contains {
	"code": "action_unknown",
	"message": "there is no such action in the catalogue",
	"policy": "action",
	"remedy": "`phasegate actions list` prints the catalogue",
} if not _known

deny contains {
	"code": "parameters_invalid",
	"message": "the parameters are not what this action needs",
	"policy": "action",
	"remedy": "see the action's page or its rule parameters_valid",
} if {
	_known
	not _undoing
	not _parameters_valid
}

deny contains {"code": "target_not_determined", "message": "the parameters name no target", "policy": "action"} if {
	_known
	not _has_target
}

deny contains {
	"code": "target_outside_namespace",
	"message": "a workflow acts in its own namespace only",
	"policy": "action",
	"remedy": "run the workflow in the target's namespace, or in one of the setting trusted-namespaces",
} if {
	some place in _places
	place != ""
	not _at_home[place]
}

deny contains {
	"code": "target_cluster_scoped",
	"message": "only workflows of trusted namespaces act on cluster-scoped objects",
	"policy": "action",
	"remedy": "run the workflow in kubernaut-system or in one of the setting trusted-namespaces",
} if {
	some place in _places
	place == ""
	_has_target
	_acts
	not _trusted
}

_acts if count(_operations) > 0

_acts if is_string(_target.kind)

deny contains {
	"code": "attempt_not_listed",
	"message": "no live workflow owns this attempt and lists it as its current one",
	"policy": "action",
	"remedy": "attempts are made by the controller only; delete this one",
} if {
	_attempted
	not _owned
}

deny contains {
	"code": "plan_changed",
	"message": "the module of this action is not the one that the approved plan used",
	"policy": "action",
	"remedy": "apply the workflow again under a new name and have the new plan approved",
} if not _plan_kept

deny contains terms.reason(type, _judged[type]) if {
	_facts_read
	some type in _hopeless
}

deny contains {"code": "operations_undefined", "message": "the action gives no operations for these facts", "policy": "action"} if {
	_known
	_facts_read
	count(_unmet) == 0
	not _has_operations
}

_has_operations if is_array(_operations)

deny contains v.fact_conflict(id) if some id in v.conflicts(facts)

deny contains v.reason(sprintf("rules.action.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.action[name].deny
}

deny contains v.not_a_set(sprintf("rules.action.%s", [name]), rule) if {
	some rule in {"deny", "wait", "warn", "facts"}
	some name
	value := data.kubernaut.rules.action[name][rule]
	type_name(value) != "set"
}

wait contains terms.reason(type, _judged[type]) if {
	_facts_read
	some type in _unmet
	_in_time[type]
	_attempted
}

wait contains v.reason(sprintf("rules.action.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.action[name].wait
}

warn contains terms.reason(type, _judged[type]) if some type in terms.unmet(_judged, _holds, false)

warn contains v.reason(sprintf("rules.action.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.action[name].warn
}

_failure_reason := "resource_not_found" if {
	some type in _hopeless
	endswith(type, "_exists")
} else := "precondition_failed" if {
	count(_hopeless) > 0
} else := "policy_denied" if {
	count(deny) > 0
}
