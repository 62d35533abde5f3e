# METADATA
# title: Safety
# description: Is it safe to touch the targets now? Four checks (rbac, capacity, health, network), the dry-run, the targets themselves.
# scope: subpackages
# schemas:
#   - input: schema.safety_input
package kubernaut.gates.safety

import data.kubernaut.lib.clock
import data.kubernaut.lib.rehearsal
import data.kubernaut.lib.rights
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
		"policy": "safety",
		"remedy": "a policy fails on this question; `phasegate policy status` lists the latest changes: take back the one that brought it",
	}],
	"warnings": [],
	"facts": [],
	"failure_reason": "safety_validation_failed",
	"error_type": "validation_error",
	"checks": [],
}

verdict := object.union_n([
	_answer,
	{"checks": _checks},
	v.blame(_answer, _failure_reason),
	{"next_check_seconds": _next_check | _answer.decision == "wait"},
])

# METADATA
# description: What packages on trial would have said; apart, so that their faults cannot touch a verdict.
# entrypoint: true
shadow := rules.on_trial("safety")

_answer := v.answer("safety", {"deny": _deny, "wait": _wait, "warn": _warn, "facts": _facts})

# Why, in the order of what is most worth saying.
default _failure_reason := "safety_validation_failed"

_failure_reason := "policy_denied" if {
	count(rehearsal.refused_by_rule) > 0
} else := "resource_not_found" if {
	count(_absent) > 0
} else := "rbac_validation_failed" if {
	_out_of_patience
	count(_rights_missing) > 0
} else := "dry_run_failed" if {
	count(rehearsal.errors) + count(_unmet_conditions) > 0
} else := "policy_denied" if {
	v.denied_by_team(_answer)
}

_sound if {
	is_array(input.steps)
	count(input.steps) > 0
	is_string(input.workflow.metadata.namespace)
	is_boolean(input.dry_run.performed)
	every step in input.steps {
		is_number(step.stepNumber)
		is_string(step.action)
	}
}

_deny contains {
	"code": "input_incomplete",
	"message": "the question lacks the steps, the workflow or what the dry-run said",
	"policy": "safety",
	"remedy": "the controller did not ask as this policy expects: deploy the controller and the policies of one release",
} if not _sound

_settled if v.settled("safety", _facts)

# What the steps touch.

_targets contains target if {
	some step in input.steps
	target := targets.reachable_of(step)
}

# By label. A step that depends on another may find what that one makes.
_touched[targets.label(target)] contains target if {
	some step in input.steps
	count(object.get(step, "dependsOn", [])) == 0
	step.action in _expecting
	target := targets.reachable_of(step)
	count(target.name) > 0
}

# The actions that need their target to be there.
_expecting contains action if {
	some action in {step.action | some step in input.steps}
	some type, _ in data.kubernaut.actions[action].preconditions
	endswith(type, "_exists")
}

# Optional: not every kind is the controller's to read. The dry-run, as the action's account, is then the one that knows.
_facts contains object.union(target, {"id": sprintf("target/%s", [label]), "verb": "get", "optional": true}) if {
	some label, found in _touched
	some target in found
}

_namespaces contains target.namespace if some target in _targets

_facts contains {
	"id": _namespace_id(namespace),
	"verb": "get",
	"apiVersion": "v1",
	"kind": "Namespace",
	"name": namespace,
} if {
	some namespace in _namespaces
}

_namespace_id(namespace) := sprintf("namespace/%s", [namespace])

_absent contains {
	"code": "namespace_not_found",
	"message": sprintf("there is no namespace %s", [namespace]),
	"policy": "safety",
	"remedy": "create it, or mend the step's parameters",
} if {
	some namespace in _namespaces
	input.facts[_namespace_id(namespace)].found == false
}

_absent contains {
	"code": "target_not_found",
	"message": sprintf("there is no %s", [label]),
	"policy": "safety",
	"remedy": "create it, or mend the step's parameters",
} if {
	some label, _ in _touched
	input.facts[sprintf("target/%s", [label])].found == false
}

# What the catalogue found missing in the dry-run; of a missing object and of missing room the checks speak as well.
_absent contains reason if {
	some reason in rehearsal.unmet
	endswith(reason.code, "_exists")
}

_crowded contains reason if {
	some reason in rehearsal.unmet
	reason.code == "cluster_capacity_available"
}

_unmet_conditions := rehearsal.unmet - (_absent | _crowded)

# The four checks: name → what is wrong, as sets of lines.

_rights := rights.requests(input.steps)

_facts contains request if some request in _rights

_facts contains {"id": "nodes", "verb": "list", "apiVersion": "v1", "kind": "Node"} if _sound

_usable_nodes contains node.metadata.name if {
	some node in input.facts.nodes.items
	object.get(node, ["spec", "unschedulable"], false) == false
	some condition in node.status.conditions
	condition.type == "Ready"
	condition.status == "True"
}

_faults.rbac contains rights.words(request) if some request in _rights_refused

_faults.rbac contains reason.message if some reason in rehearsal.forbidden

_rights_refused := rights.refused(_rights)

_faults.capacity contains "no node is ready and takes pods" if count(_usable_nodes) == 0

_faults.capacity contains reason.message if some reason in _crowded

_faults.health contains sprintf("%s is not available", [label]) if {
	some label, _ in _touched
	some condition in input.facts[sprintf("target/%s", [label])].object.status.conditions
	condition.type in {"Available", "Ready"}
	condition.status == "False"
}

_faults.health contains sprintf("%s cannot make pods", [label]) if {
	some label, _ in _touched
	some condition in input.facts[sprintf("target/%s", [label])].object.status.conditions
	condition.type == "ReplicaFailure"
	condition.status == "True"
}

# No packet is sent to find out. What can be known is whether a namespace is on its way out, and its endpoints with it.
_faults.network contains sprintf("namespace %s is being deleted", [namespace]) if {
	some namespace in _namespaces
	input.facts[_namespace_id(namespace)].object.status.phase == "Terminating"
}

_wrong(type) := object.get(_faults, type, set())

_praise := {
	"rbac": "every action's ServiceAccount has the rights that the action declares",
	"capacity": "a node is ready and takes pods",
	"health": "no target says that it is unavailable",
	"network": "no target's namespace is being deleted",
}

# What a check that failed is called, and what helps.
_failed_checks := {
	"rbac": {
		"code": "check_failed_rbac",
		"remedy": "bind the action's ClusterRole to its ServiceAccount in the target's namespace; deploy/ has both",
	},
	"capacity": {
		"code": "check_failed_capacity",
		"remedy": "add nodes, uncordon one, or ask for fewer replicas",
	},
	"health": {
		"code": "check_failed_health",
		"remedy": "mend the target first, or call the check health not required",
	},
	"network": {
		"code": "check_failed_network",
		"remedy": "run the workflow once the namespace is there again",
	},
}

_checks := [check |
	some type in ["rbac", "capacity", "health", "network"]
	check := {
		"type": type,
		"required": _is_required(type),
		"passed": count(_wrong(type)) == 0,
		"message": _finding(type),
	}
]

_finding(type) := concat("; ", array.slice(sort(_wrong(type)), 0, 5)) if {
	count(_wrong(type)) > 0
} else := _praise[type]

# The author's terms. A target in poor health is what most workflows are for, so that check alone has to be asked for. Leaving a check
# out is a wish which this policy grants for all but rbac: the check is made and reported, and does not count.

_aliases := {"rbac-check": "rbac", "resource-availability": "capacity"}

_terms[type] contains entry if {
	some entry in input.workflow.spec.executionStrategy.safetyChecks
	type := object.get(_aliases, entry.type, entry.type)
}

_defaults := {"rbac": true, "capacity": true, "health": false, "network": true}

_is_required(type) := _defaults[type] if not _terms[type]

_is_required(type) := required if {
	_terms[type]
	required := count(_counting(type)) > 0
}

_counting(type) := [entry |
	some entry in _terms[type]
	object.get(entry, "required", true) != false
	_is_left_in(type, entry)
]

_is_left_in("rbac", _)

_is_left_in(type, entry) if {
	type != "rbac"
	object.get(entry, "enabled", true) != false
}

_deny contains _failed(check, check.message) if {
	_settled
	some check in _checks
	check.type != "rbac"
	check.passed == false
	check.required
}

_warn contains _failed(check, check.message) if {
	_settled
	some check in _checks
	check.passed == false
	check.required == false
}

# An API server that has just started knows no bindings yet and refuses everything, and a binding may follow its workflow by a moment. A
# right that is really gone stays gone for longer than this.
_patience := 3

default _out_of_patience := false

# Where nobody says since when, it is seen for the first time.
_out_of_patience if clock.elapsed(input.since.rbac) >= _patience

_rights_missing contains _failed(check, check.message) if {
	_settled
	count(_rights_refused) > 0
	some check in _checks
	check.type == "rbac"
	check.required
}

# What the server itself refused counts whatever the author calls required.
_rights_missing contains reason if some reason in rehearsal.forbidden

_deny contains reason if {
	_out_of_patience
	some reason in _rights_missing
}

_wait contains reason if {
	not _out_of_patience
	some reason in _rights_missing
}

default _next_check := 2

_next_check := 0.5 if count(_rights_missing) > 0

_failed(check, message) := object.union(_failed_checks[check.type], {"message": message, "policy": "safety"})

# What is there, and what the dry-run said.

_deny contains reason if {
	_settled
	some reason in _absent
}

_deny contains reason if some reason in rehearsal.refused_by_rule

_deny contains reason if some reason in rehearsal.errors

_deny contains reason if some reason in _unmet_conditions

_deny contains {
	"code": "dry_run_unreadable",
	"message": "what the dry-run said of a step cannot be read",
	"policy": "safety",
	"remedy": "mend the action or the rule whose reasons have no such form, and apply the workflow again under a new name",
} if count(rehearsal.unreadable) > 0

_unrehearsed contains step.stepNumber if {
	input.dry_run.performed == true
	some step in input.steps
	count({step.stepNumber} & rehearsal.rehearsed) == 0
}

_deny contains {
	"code": "dry_run_incomplete",
	"message": sprintf("the dry-run says nothing of step %v", [number]),
	"policy": "safety",
	"remedy": "look into the controller's log for the dry-run of this step, and apply the workflow again under a new name",
} if {
	some number in _unrehearsed
}

_wait contains {
	"code": "dry_run_undecided",
	"message": sprintf("what has to be known for step %d cannot be read yet", [number]),
	"policy": "safety",
	"remedy": "it is tried again by itself; if it stays so, see whether the API server answers, and the controller's log",
} if {
	some number in rehearsal.undecided
}

_warn contains {
	"code": "dry_run_failed_later_step",
	"message": sprintf("step %d would fail now; it depends on others, so it is judged again when its turn comes", [number]),
	"policy": "safety",
} if {
	some number in rehearsal.later
}

_warn contains {
	"code": "step_held",
	"message": sprintf("a rule would hold step %d back now; it is asked again when its turn comes", [number]),
	"policy": "safety",
} if {
	some number in rehearsal.held
}
