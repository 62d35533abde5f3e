# METADATA
# title: Planning
# description: May a graph of these steps be run at all, and how long may it take?
# scope: subpackages
# schemas:
#   - input: schema.planning_input
package kubernaut.gates.planning

import data.kubernaut.lib.clock
import data.kubernaut.lib.references
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
		"policy": "planning",
		"remedy": "a policy fails on this question; `phasegate policy status` lists the latest changes: take back the one that brought it",
	}],
	"warnings": [],
	"facts": [],
	"failure_reason": "planning_error",
	"error_type": "validation_error",
	"estimated_duration_seconds": 0,
	"action_digests": {},
}

verdict := object.union_n([
	_answer,
	{"estimated_duration_seconds": _duration, "action_digests": _digests},
	v.blame(_answer, _failure_reason),
	{"next_check_seconds": 2 | _answer.decision == "wait"},
])

# METADATA
# description: What packages on trial would have said; apart, so that their faults cannot touch a verdict.
# entrypoint: true
shadow := rules.on_trial("planning")

_answer := v.answer("planning", {"deny": _deny, "wait": set(), "warn": set(), "facts": set()})

default _failure_reason := "planning_error"

_failure_reason := "policy_denied" if count(_deny) == 0

# Nothing is judged of a list that is not sound; that it is not is the only reason then.

_sound if {
	is_array(input.steps)
	count(input.steps) > 0
	count({step.stepNumber | some step in input.steps}) == count(input.steps)
	every step in input.steps {
		is_number(step.stepNumber)
		is_string(step.action)
	}
}

default _steps := []

_steps := input.steps if _sound

_deny contains {
	"code": "input_incomplete",
	"message": "the question lacks steps with numbers and actions",
	"policy": "planning",
	"remedy": "the controller did not ask as this policy expects: deploy the controller and the policies of one release",
} if not _sound

# Actions. An action is known when it says which rights it needs.

_used contains step.action if some step in _steps

_used contains step.rollbackSpec.action if some step in _steps

_known contains action if {
	some action in (_used | object.keys(_overrides))
	is_array(data.kubernaut.actions[action].permissions)
}

_digests[action] := digest if {
	some action in _used
	digest := data.kubernaut.modules.actions[action]
	is_string(digest)
}

_pick := sprintf("use one of: %s", [concat(", ", sort(_catalogue))])

_catalogue contains action if {
	some action
	is_array(data.kubernaut.actions[action].permissions)
}

_deny contains {
	"code": "action_unknown",
	"message": sprintf("step %d: the catalogue has no action %s", [step.stepNumber, step.action]),
	"policy": "planning",
	"remedy": _pick,
} if {
	some step in _steps
	step.action in (_used - _known)
}

_rollback_action(step) := action if {
	action := step.rollbackSpec.action
	is_string(action)
} else := "(none)"

_deny contains {
	"code": "rollback_action_unknown",
	"message": sprintf("step %d: the catalogue has no action %s, which its rollbackSpec names", [step.stepNumber, _rollback_action(step)]),
	"policy": "planning",
	"remedy": _pick,
} if {
	some step in _steps
	is_object(step.rollbackSpec)
	count({_rollback_action(step)} & _known) == 0
}

# Parameters: exactly the action's own member. What is in it is judged by the action itself.

_member(action) := member if {
	member := data.kubernaut.actions[action].member
	is_string(member)
} else := "custom"

_members(holder) := object.keys(holder.parameters) if {
	is_object(holder.parameters)
} else := set()

_deny contains {
	"code": "parameters_mismatch",
	"message": sprintf("step %d: its parameters are not those of %s", [step.stepNumber, step.action]),
	"policy": "planning",
	"remedy": sprintf("write them below parameters.%s, and nothing beside it", [_member(step.action)]),
} if {
	some step in _steps
	step.action in _known
	_members(step) != {_member(step.action)}
}

_deny contains {
	"code": "parameters_mismatch",
	"message": sprintf("step %d: the parameters of its rollbackSpec are not those of %s", [step.stepNumber, action]),
	"policy": "planning",
	"remedy": sprintf("write them below rollbackSpec.parameters.%s, and nothing beside it", [_member(action)]),
} if {
	some step in _steps
	action := _rollback_action(step)
	action in _known
	_members(step.rollbackSpec) != {_member(action)}
}

# The cluster.

_clusters contains ""

_clusters contains data.kubernaut.settings["cluster-name"]

_deny contains {
	"code": "target_cluster_unknown",
	"message": sprintf("step %d: targetCluster is not the one cluster that this controller acts on", [step.stepNumber]),
	"policy": "planning",
	"remedy": "leave targetCluster out, or write what the setting cluster-name says",
} if {
	some step in _steps
	count({object.get(step, "targetCluster", "")} & _clusters) == 0
}

# Conditions of the catalogue, by the names and terms of steps and overrides: [where, action, side, type, terms].

_sides := {"preConditions": "preconditions", "postConditions": "postconditions"}

_terms contains [sprintf("step %d", [step.stepNumber]), step.action, side, entry.type, object.filter(entry, {"required", "timeout"})] if {
	some step in _steps
	some list, side in _sides
	some entry in step[list]
	object.get(entry, "rego", "") == ""
}

_terms contains ["conditionOverrides", action, side, type, terms] if {
	some action, sides in _overrides
	some side, types in sides
	some type, terms in types
}

default _overrides := {}

_overrides := input.workflow.spec.conditionOverrides if is_object(input.workflow.spec.conditionOverrides)

_declared contains term if {
	some term in _terms
	[_, action, side, type, _] := term
	is_object(data.kubernaut.actions[action][side][type])
}

_deny contains {
	"code": "action_unknown",
	"message": sprintf("conditionOverrides names %s, which the catalogue does not have", [action]),
	"policy": "planning",
	"remedy": _pick,
} if {
	some action in (object.keys(_overrides) - _known)
}

_deny contains {
	"code": "condition_unknown",
	"message": sprintf("%s: %v is none of the %v of %v", [where, type, side, action]),
	"policy": "planning",
	"remedy": sprintf("name one of [%s], or give a reference in rego", [_condition_names(action, side)]),
} if {
	some [where, action, side, type, _] in (_terms - _declared)
	action in _known
}

_condition_names(action, side) := concat(", ", sort(object.keys(data.kubernaut.actions[action][side]))) if {
	is_object(data.kubernaut.actions[action][side])
} else := ""

_loosening_allowed if data.kubernaut.settings["allow-condition-loosening"] == true

_loosens contains [where, action, type] if {
	some [where, action, side, type, terms] in _declared
	terms.required == false
	object.get(data.kubernaut.actions[action][side][type], "required", true) == true
}

_loosens contains [where, action, type] if {
	some [where, action, side, type, terms] in _declared
	clock.seconds(terms.timeout) > clock.seconds(data.kubernaut.actions[action][side][type].timeout)
}

_deny contains {
	"code": "override_not_allowed",
	"message": sprintf("%s: the condition %v of %v may be tightened, not loosened", [where, type, action]),
	"policy": "planning",
	"remedy": "keep it required and its timeout no longer than the catalogue's, or have the setting allow-condition-loosening changed",
} if {
	not _loosening_allowed
	some [where, action, type] in _loosens
}

# Conditions by reference.

_references contains [step.stepNumber, object.get(entry, "type", "a condition"), reference] if {
	some step in _steps
	some list in object.keys(_sides)
	some entry in step[list]
	reference := object.get(entry, "rego", "")
	reference != ""
}

_resolved contains [number, type, reference] if {
	some [number, type, reference] in _references
	is_string(references.named(reference))
}

_deny contains {
	"code": "reference_unknown",
	"message": sprintf("step %d: %v: %v refers to no condition package of a policy ConfigMap", [number, type, reference]),
	"policy": "planning",
	"remedy": sprintf(
		"write configmap-name:key.rego:rule, of a ConfigMap in kubernaut-system that is labelled kubernaut.ai/policy; there are: %s",
		[_references_there],
	),
} if {
	some [number, type, reference] in (_references - _resolved)
}

default _references_there := "none"

_references_there := concat(", ", array.slice(sort(object.keys(data.kubernaut.references)), 0, 10)) if {
	count(data.kubernaut.references) > 0
}

# How long: the longest way through the dependencies. Rego has no recursion, so the ends are pushed back along the dependencies round by
# round: exact for graphs of up to 16 levels. Deeper ones are mostly chains, which take the sum of their steps; nothing takes more.

_estimates[step.stepNumber] := _estimate(step) if some step in _steps

_estimate(step) := seconds if {
	# regal ignore:with-outside-test-context
	seconds := data.kubernaut.actions[step.action].estimated_seconds with input as targets.question(step)
	is_number(seconds)
} else := 0

_pushed(ends) := {step.stepNumber: end |
	some step in _steps
	before := [ends[number] | some number in step.dependsOn]
	end := _estimates[step.stepNumber] + max(array.concat([0], before))
}

_pushed_four_times(ends) := _pushed(_pushed(_pushed(_pushed(ends))))

_ends := _pushed_four_times(_pushed_four_times(_pushed_four_times(_pushed_four_times(_estimates))))

_duration := max([end | some end in _ends]) if {
	count(_ends) > 0
	_ends == _pushed(_ends)
} else := sum([seconds | some seconds in _estimates])
