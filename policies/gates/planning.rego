# METADATA
# title: Planning
# description: May a graph of these steps be run at all, and how long may it take?
# scope: subpackages
# schemas:
#   - input: schema.planning_input
package kubernaut.gates.planning

import data.kubernaut.lib.clock
import data.kubernaut.lib.verdict as v

# METADATA
# description: The whole answer; defined for every input.
# entrypoint: true
default verdict := {
	"decision": "deny",
	"reasons": [{"code": "verdict_undefined", "message": "the gate could not judge this question", "policy": "planning"}],
	"warnings": [],
	"facts": [],
	"estimated_duration_seconds": 0,
	"action_digests": {},
}

verdict := object.union_n([
	v.document(deny, wait, warn, facts),
	{"estimated_duration_seconds": sum(_estimates), "action_digests": _digests},
	{"failure_reason": reason | reason := _failure_reason},
])

# METADATA
# description: What packages on trial would have said.
# entrypoint: true
shadow contains v.reason(sprintf("shadow.planning.%s", [name]), r) if {
	some name
	some r in data.kubernaut.shadow.planning[name].deny
}

_known[step.action] if {
	some step in input.steps
	is_string(data.kubernaut.actions[step.action].service_account)
}

_has_steps if count(input.steps) > 0

# A coarse upper bound: no two steps at once.
_estimates := [data.kubernaut.actions[step.action].estimated_seconds | some step in input.steps]

_digests := {step.action: digest |
	some step in input.steps
	digest := data.kubernaut.modules.actions[step.action]
}

_member_fits[step.stepNumber] if {
	some step in input.steps
	step.parameters[data.kubernaut.actions[step.action].member]
}

_member_fits[step.stepNumber] if {
	some step in input.steps
	data.kubernaut.actions[step.action].member == "custom"
}

_member_fits[step.stepNumber] if {
	some step in input.steps
	step.parameters.custom.actionType
}

_here[step.stepNumber] if {
	some step in input.steps
	object.get(step, "targetCluster", "") in {"", data.kubernaut.settings["cluster-name"]}
}

_here[step.stepNumber] if {
	some step in input.steps
	object.get(step, "targetCluster", "") == ""
}

_undoable[step.stepNumber] if {
	some step in input.steps
	is_string(data.kubernaut.actions[step.rollbackSpec.action].service_account)
}

_loosening_allowed if data.kubernaut.settings["allow-condition-loosening"] == true

# What steps and overrides say about conditions of the catalogue: [action, side, type, terms].

_terms contains [step.action, "preconditions", entry.type, entry] if {
	some step in input.steps
	some entry in step.preConditions
	object.get(entry, "rego", "") == ""
}

_terms contains [step.action, "postconditions", entry.type, entry] if {
	some step in input.steps
	some entry in step.postConditions
	object.get(entry, "rego", "") == ""
}

_terms contains [action, side, type, terms] if {
	some action, sides in input.workflow.spec.conditionOverrides
	some side, types in sides
	some type, terms in types
}

_in_catalogue contains term if {
	some term in _terms
	[action, side, type, _] := term
	is_object(data.kubernaut.actions[action][side][type])
}

_loose contains term if {
	some term in _in_catalogue
	[action, side, type, terms] := term
	terms.required == false
	data.kubernaut.actions[action][side][type].required == true
}

_loose contains term if {
	some term in _in_catalogue
	[action, side, type, terms] := term
	clock.seconds(terms.timeout) > clock.seconds(data.kubernaut.actions[action][side][type].timeout)
}

_references contains condition.rego if {
	some step in input.steps
	some list in [object.get(step, "preConditions", []), object.get(step, "postConditions", [])]
	some condition in list
	object.get(condition, "rego", "") != ""
}

_resolved contains reference if {
	some reference in _references
	parts := split(reference, ":")
	data.kubernaut.references[sprintf("%s:%s", [parts[0], parts[1]])]
}

facts contains r if {
	some name
	some r in data.kubernaut.rules.planning[name].facts
}

_own contains {"code": "steps_missing", "message": "the workflow has no steps", "policy": "planning"} if not _has_steps

_own contains {
	"code": "action_unknown",
	"message": sprintf("step %d: there is no action %s in the catalogue", [step.stepNumber, step.action]),
	"policy": "planning",
	"remedy": sprintf("use one of: %s", [concat(", ", sort(_catalogue))]),
} if {
	some step in input.steps
	not _known[step.action]
}

_catalogue contains name if some name, _ in data.kubernaut.modules.actions

_own contains {
	"code": "parameters_mismatch",
	"message": sprintf("step %d: its parameters are not those of %s", [step.stepNumber, step.action]),
	"policy": "planning",
	"remedy": sprintf("write them below parameters.%s", [data.kubernaut.actions[step.action].member]),
} if {
	some step in input.steps
	_known[step.action]
	not _member_fits[step.stepNumber]
}

_own contains {
	"code": "target_cluster_unknown",
	"message": sprintf("step %d: this controller acts on its own cluster only", [step.stepNumber]),
	"policy": "planning",
	"remedy": "leave targetCluster out, or write the setting cluster-name",
} if {
	some step in input.steps
	not _here[step.stepNumber]
}

_own contains {
	"code": "rollback_action_unknown",
	"message": sprintf("step %d: there is no such action in the catalogue as its rollbackSpec names", [step.stepNumber]),
	"policy": "planning",
	"remedy": "`phasegate actions list` prints the catalogue",
} if {
	some step in input.steps
	is_object(step.rollbackSpec)
	not _undoable[step.stepNumber]
}

_own contains {
	"code": "condition_unknown",
	"message": sprintf("%s has no condition %s among its %s", [action, type, side]),
	"policy": "planning",
	"remedy": "name a condition of the action's page, or give a reference in rego",
} if {
	some term in _terms
	not term in _in_catalogue
	[action, side, type, _] := term
}

_own contains {
	"code": "override_not_allowed",
	"message": sprintf("the condition %s of %s may be tightened, not loosened", [type, action]),
	"policy": "planning",
	"remedy": "keep it required and its timeout no longer, or set allow-condition-loosening",
} if {
	not _loosening_allowed
	some [action, _, type, _] in _loose
}

_own contains {
	"code": "reference_unknown",
	"message": sprintf("%s refers to no condition package in a policy ConfigMap", [reference]),
	"policy": "planning",
	"remedy": "write configmap-name:key.rego:rule, of a ConfigMap labelled kubernaut.ai/policy in kubernaut-system",
} if {
	some reference in _references
	not reference in _resolved
}

deny contains r if some r in _own

deny contains v.fact_conflict(id) if some id in v.conflicts(facts)

deny contains v.reason(sprintf("rules.planning.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.planning[name].deny
}

deny contains v.not_a_set(sprintf("rules.planning.%s", [name]), rule) if {
	some rule in {"deny", "wait", "warn", "facts"}
	some name
	value := data.kubernaut.rules.planning[name][rule]
	type_name(value) != "set"
}

wait contains v.reason(sprintf("rules.planning.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.planning[name].wait
}

warn contains v.reason(sprintf("rules.planning.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.planning[name].warn
}

_failure_reason := "planning_error" if {
	count(_own) > 0
} else := "policy_denied" if {
	count(deny) > 0
}
