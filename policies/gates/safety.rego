# METADATA
# title: Safety
# description: Is it safe to touch the targets now? Four checks (rbac, capacity, health, network), what the dry-run said, and whether the targets exist.
# scope: subpackages
# schemas:
#   - input: schema.safety_input
package kubernaut.gates.safety

import data.kubernaut.lib.verdict as v

# METADATA
# description: The whole answer; defined for every input.
# entrypoint: true
default verdict := {
	"decision": "deny",
	"reasons": [{"code": "verdict_undefined", "message": "the gate could not judge this question", "policy": "safety"}],
	"warnings": [],
	"facts": [],
	"checks": [],
}

verdict := object.union_n([
	v.document(deny, wait, warn, facts),
	{"checks": checks},
	{"failure_reason": reason | reason := _failure_reason},
	{"next_check_seconds": 2 | count(wait) > 0},
])

# METADATA
# description: What packages on trial would have said.
# entrypoint: true
shadow contains v.reason(sprintf("shadow.safety.%s", [name]), r) if {
	some name
	some r in data.kubernaut.shadow.safety[name].deny
}

_asked if {
	is_array(input.steps)
	is_string(input.workflow.metadata.namespace)
}

# What the steps touch, as their actions say it.

_targets[step.stepNumber] := target if {
	some step in input.steps
	target := data.kubernaut.actions[step.action].target with input.step as step
}

_target_id(target) := sprintf("target/%s/%s/%s", [target.kind, object.get(target, "namespace", ""), target.name])

# The object of a step that depends on another may not exist yet.
_first contains step.stepNumber if {
	some step in input.steps
	count(object.get(step, "dependsOn", [])) == 0
}

facts contains object.union(target, {"id": _target_id(target), "verb": "get", "optional": true}) if {
	some number in _first
	target := _targets[number]
	target.kind != "Secret"
}

facts contains {"id": sprintf("namespace/%s", [namespace]), "verb": "get", "apiVersion": "v1", "kind": "Namespace", "name": namespace} if {
	some namespace in _namespaces
}

_namespaces contains namespace if {
	some _, target in _targets
	namespace := target.namespace
}

# rbac: every right that an action declares, asked once for each ServiceAccount and place.

_cluster_scoped := {"nodes", "namespaces", "persistentvolumes", "storageclasses"}

_rights contains right if {
	some step in input.steps
	some rule in data.kubernaut.actions[step.action].permissions
	some group in rule.apiGroups
	some resource in rule.resources
	some verb in rule.verbs
	[plain, subresource] := array.slice(array.concat(split(resource, "/"), [""]), 0, 2)
	right := {
		"serviceAccount": data.kubernaut.actions[step.action].service_account,
		"accessVerb": verb,
		"group": group,
		"resource": plain,
		"subresource": subresource,
		"namespace": _place(step, plain),
	}
}

_place(step, resource) := namespace if {
	not resource in _cluster_scoped
	namespace := _targets[step.stepNumber].namespace
} else := ""

_access_id(right) := sprintf("access/%s/%s/%s.%s/%s in %s", [
	right.serviceAccount,
	right.accessVerb,
	right.resource,
	right.group,
	right.subresource,
	right.namespace,
])

facts contains object.union(right, {"id": _access_id(right), "verb": "access"}) if some right in _rights

_granted contains right if {
	some right in _rights
	input.facts[_access_id(right)].allowed == true
}

_refused contains right if {
	some right in _rights
	input.facts[_access_id(right)].available == true
	not right in _granted
}

# capacity: there is a node that takes pods.

facts contains {"id": "nodes", "verb": "list", "apiVersion": "v1", "kind": "Node"}

_usable_nodes := [node.metadata.name |
	some node in input.facts.nodes.items
	object.get(node, ["spec", "unschedulable"], false) == false
	some condition in node.status.conditions
	condition.type == "Ready"
	condition.status == "True"
]

# health: no target reports that it cannot work at all.

_failing contains id if {
	some _, target in _targets
	id := _target_id(target)
	some condition in input.facts[id].object.status.conditions
	condition.type == "ReplicaFailure"
	condition.status == "True"
}

# network: a target that is published by a Service has endpoints to lose only if pods exist; whether it has is for the actions' own
# conditions. Here it is only made sure that the namespace is not on its way out.

_leaving contains namespace if {
	some namespace in _namespaces
	input.facts[sprintf("namespace/%s", [namespace])].object.status.phase == "Terminating"
}

_findings := {
	"rbac": {"passed": count(_refused) == 0, "message": _rbac_message},
	"capacity": {"passed": count(_usable_nodes) > 0, "message": "at least one node is ready and takes pods"},
	"health": {"passed": count(_failing) == 0, "message": "no target reports a replica failure"},
	"network": {"passed": count(_leaving) == 0, "message": "no target's namespace is being deleted"},
}

default _rbac_message := "every action's ServiceAccount has the rights that the action declares"

_rbac_message := concat("; ", array.slice([_refusal(right) | some right in _refused], 0, 5)) if count(_refused) > 0

_refusal(right) := sprintf("%s may not %s %s%s in namespace %q: %s", [
	right.serviceAccount,
	right.accessVerb,
	right.resource,
	_shown_subresource(right),
	right.namespace,
	_quoted,
])

_shown_subresource(right) := sprintf("/%s", [right.subresource]) if {
	right.subresource != ""
} else := ""

# What the API server itself said, where the dry-run made it say something.
default _quoted := "SubjectAccessReview says no"

_quoted := min(_forbidden_messages) if count(_forbidden_messages) > 0

_forbidden_messages contains error.message if {
	some step in input.dry_run.steps
	some error in step.errors
	error.status == 403
}

# The author's terms: an entry changes `required`, or asks to leave a check out.

_aliases := {"rbac-check": {"rbac"}, "resource-availability": {"capacity"}}

_entries[type] contains entry if {
	some entry in input.workflow.spec.executionStrategy.safetyChecks
	some type in object.get(_aliases, entry.type, {entry.type})
}

_is_required(type) := false if {
	some entry in _entries[type]
	object.get(entry, "required", true) == false
} else := true

# Leaving a check out is a wish; this policy grants it for checks that the author also calls not required.
_left_out(type) if {
	some entry in _entries[type]
	object.get(entry, "enabled", true) == false
	object.get(entry, "required", true) == false
}

# METADATA
# description: The four checks with what was found.
checks := [check |
	some type in ["rbac", "capacity", "health", "network"]
	not _skipped[type]
	check := {
		"type": type,
		"required": _is_required(type),
		"passed": _findings[type].passed,
		"message": _findings[type].message,
	}
]

_skipped[type] if {
	some type in ["rbac", "capacity", "health", "network"]
	_left_out(type)
}

_failed contains check if {
	some check in checks
	check.passed == false
}

_settled if v.settled(facts)

# Targets that are not there now.

_missing_namespaces contains namespace if {
	some namespace in _namespaces
	input.facts[sprintf("namespace/%s", [namespace])].found == false
}

_missing_targets contains target if {
	some number in _first
	target := _targets[number]
	input.facts[_target_id(target)].found == false
}

# What the dry-run said.

_rehearsals contains step if some step in input.dry_run.steps

# A rule's refusal counts for every step; a condition or an error of a step that depends on another may be cured by it.
_hard_refusals contains reason if {
	some step in _rehearsals
	step.decision == "deny"
	some reason in step.reasons
	_by_rule(reason)
}

_by_rule(reason) if startswith(reason.policy, "rules.")

_by_rule(reason) if {
	reason.policy == "action"
	reason.code in {"target_outside_namespace", "target_cluster_scoped", "action_unknown", "parameters_invalid", "target_not_determined"}
}

_soft(step, reason) := object.union(reason, {"message": sprintf("step %d: %s", [step.step, reason.message])})

_condition_refusals contains _soft(step, reason) if {
	some step in _rehearsals
	step.depends == false
	step.decision == "deny"
	some reason in step.reasons
	not reason in _hard_refusals
}

_dry_run_errors contains {
	"code": "dry_run_failed",
	"message": sprintf("step %d: %s", [step.step, error.message]),
	"policy": "safety",
	"remedy": "mend the step's parameters, or the object, and apply the workflow again",
} if {
	some step in _rehearsals
	step.depends == false
	some error in step.errors
	error.status != 403
}

_rehearsal_forbidden contains {
	"code": "rbac_forbidden",
	"message": sprintf("step %d: %s", [step.step, error.message]),
	"policy": "safety",
	"remedy": "give the action's ServiceAccount the right in the target's namespace",
} if {
	some step in _rehearsals
	some error in step.errors
	error.status == 403
}

_unread contains step.step if {
	some step in _rehearsals
	step.depends == false
	step.decision == "wait"
	count(step.errors) == 0
}

_not_found contains {
	"code": "namespace_not_found",
	"message": sprintf("there is no namespace %s", [namespace]),
	"policy": "safety",
	"remedy": "create it, or mend the step's parameters",
} if {
	_settled
	some namespace in _missing_namespaces
}

_not_found contains {
	"code": "target_not_found",
	"message": sprintf("there is no %s %s/%s", [target.kind, object.get(target, "namespace", ""), target.name]),
	"policy": "safety",
	"remedy": "create it, or mend the step's parameters",
} if {
	_settled
	some target in _missing_targets
}

_rbac_failures contains {
	"code": "check_failed_rbac",
	"message": check.message,
	"policy": "safety",
	"remedy": "apply deploy/, or bind the action's ClusterRole in the target's namespace",
} if {
	_settled
	some check in _failed
	check.type == "rbac"
	check.required
}

_check_failures contains {"code": sprintf("check_failed_%s", [check.type]), "message": _failure_message[check.type], "policy": "safety"} if {
	_settled
	some check in _failed
	check.type != "rbac"
	check.required
}

_failure_message := {
	"capacity": "no node is ready and takes pods",
	"health": "a target reports a replica failure",
	"network": "a target's namespace is being deleted",
}

deny contains {"code": "input_incomplete", "message": "the question lacks the steps or the workflow", "policy": "safety"} if not _asked

deny contains r if some r in _hard_refusals

deny contains r if some r in _not_found

deny contains r if some r in _condition_refusals

deny contains r if some r in _rehearsal_forbidden

deny contains r if some r in _rbac_failures

deny contains r if some r in _dry_run_errors

deny contains r if some r in _check_failures

deny contains v.fact_conflict(id) if some id in v.conflicts(facts)

deny contains v.reason(sprintf("rules.safety.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.safety[name].deny
}

deny contains v.not_a_set(sprintf("rules.safety.%s", [name]), rule) if {
	some rule in {"deny", "wait", "warn", "facts"}
	some name
	value := data.kubernaut.rules.safety[name][rule]
	type_name(value) != "set"
}

wait contains {
	"code": "facts_of_steps_missing",
	"message": sprintf("the facts of step %d cannot be read yet", [number]),
	"policy": "safety",
} if {
	some number in _unread
}

facts contains r if {
	some name
	some r in data.kubernaut.rules.safety[name].facts
}

wait contains v.reason(sprintf("rules.safety.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.safety[name].wait
}

warn contains {
	"code": "dry_run_failed_later_step",
	"message": sprintf("step %d would fail now; it depends on others, so it is judged again when its turn comes", [step.step]),
	"policy": "safety",
} if {
	some step in _rehearsals
	step.depends == true
	step.decision == "deny"
}

warn contains {
	"code": "check_failed",
	"message": sprintf("%s: %s", [check.type, check.message]),
	"policy": "safety",
} if {
	some check in _failed
	not check.required
}

warn contains v.reason(sprintf("rules.safety.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.safety[name].warn
}

_failure_reason := "policy_denied" if {
	count(_hard_refusals) > 0
} else := "resource_not_found" if {
	count(_not_found) > 0
} else := "resource_not_found" if {
	some r in _condition_refusals
	endswith(r.code, "_exists")
} else := "rbac_validation_failed" if {
	count(_rehearsal_forbidden) + count(_rbac_failures) > 0
} else := "dry_run_failed" if {
	count(_dry_run_errors) > 0
} else := "policy_denied" if {
	some name
	some _ in data.kubernaut.rules.safety[name].deny
} else := "safety_validation_failed" if {
	count(deny) > 0
}
