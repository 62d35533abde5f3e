# METADATA
# title: Dispatch
# description: Which of the steps that could start do start now? The lists take effect with the decision allow only.
# scope: subpackages
# schemas:
#   - input: schema.dispatch_input
package kubernaut.gates.dispatch

import data.kubernaut.lib.clock
import data.kubernaut.lib.reasons
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
		"policy": "dispatch",
		"remedy": "a policy fails on this question; `phasegate policy status` lists the latest changes: take back the one that brought it",
	}],
	"warnings": [],
	"facts": [],
	"start": [],
	"hold": [],
	"skip": [],
	"block": [],
	"max_parallel": 0,
	"conditions": [],
	"adjustments": [],
}

verdict := object.union_n([
	_answer,
	{
		"start": [number | some number in _starting; _answer.decision == "allow"],
		"hold": _by_step(_holds),
		"skip": [{"step": number, "reason": min(why)} | some number, why in _skips],
		"block": _by_step(_blocks),
		"max_parallel": max_parallel,
		"conditions": [object.union(references.reported(result), {"step": number}) | some [number, result] in _judged],
		"adjustments": [],
	},
	{"failure_reason": "policy_denied" | _answer.decision == "deny"},
	{"next_check_seconds": 1 | _worth_another_look},
])

# METADATA
# description: What packages on trial would have said; apart, so that their faults cannot touch a verdict.
# entrypoint: true
shadow := rules.on_trial("dispatch")

_answer := v.answer("dispatch", {"deny": _deny, "wait": _wait, "warn": _warn, "facts": _facts})

# Nothing but time, or a fact that changes, may end these; a suspended or full workflow ends its wait by an event.
_worth_another_look if count(_holds) > 0

_worth_another_look if {
	_answer.decision == "wait"
	count(rules.wait("dispatch")) > 0
}

_worth_another_look if {
	_answer.decision == "wait"
	not _settled
}

_settled if v.settled("dispatch", _facts)

# What is ready, in plan order, and what runs.

_sound if {
	is_array(input.ready)
	is_array(input.running)
	is_object(input.workflow.spec)
	_all_described
	every number in input.ready {
		number == floor(number)
	}
}

_all_described if count(input.ready) == count(_described)

_described contains step.stepNumber if {
	some step in input.steps
	step.stepNumber in input.ready
}

default _ready := []

_ready := [floor(number) | some number in input.ready] if _sound

_deny contains {
	"code": "input_incomplete",
	"message": "the question lacks the workflow, the ready steps or the running ones",
	"policy": "dispatch",
	"remedy": "the controller did not ask as this policy expects: deploy the controller and the policies of one release",
} if not _sound

# How many at once: the lowest of what the site, the workflow and the teams say. A missing setting means one.

# METADATA
# description: The number of attempts of a workflow that may run at once.
max_parallel := max([0, floor(min(_limits))])

_site_limit := data.kubernaut.settings["max-parallel-steps"]

_site_is_set if is_number(_site_limit)

_limits contains 1 if not _site_is_set

_limits contains _site_limit if _site_is_set

_limits contains limit if {
	limit := input.workflow.spec.executionStrategy.maxParallelSteps
	is_number(limit)
}

_limits contains limit if {
	some name
	some limit in data.kubernaut.rules.dispatch[name].limit
	is_number(limit)
}

_deny contains reasons.malformed(rules.policy("dispatch", name), "limit", limit) if {
	some name
	some limit in data.kubernaut.rules.dispatch[name].limit
	type_name(limit) != "number"
}

default _free := 0

_free := max([0, max_parallel - count(input.running)]) if _sound

# The steps' own preconditions by reference. Those of the catalogue are judged by the attempt.

_judged contains [step.stepNumber, result] if {
	some step in input.steps
	step.stepNumber in _ready
	some result in references.judged(step, "preConditions")
}

_facts contains request if {
	some step in input.steps
	step.stepNumber in _ready
	some request in references.facts(step, "preConditions")
}

_unmet contains [number, result] if {
	some [number, result] in _judged
	result.required
	result.passed == false
}

_in_time contains [number, result] if {
	some [number, result] in _unmet
	since := object.get(input, ["since", sprintf("%d/%s", [number, result.type])], input.now)
	clock.elapsed(since) < result.seconds
}

_warn contains references.reason("dispatch", "precondition_unmet", result) if {
	some [_, result] in _judged
	result.required == false
	result.passed == false
}

# Step number → why it is held, skipped or blocked.

_holds[number] contains references.reason("dispatch", "precondition_unmet", result) if {
	_settled
	some [number, result] in _in_time
}

_holds[hold.step] contains reasons.reason(rules.policy("dispatch", name), object.remove(hold, ["step"])) if {
	some name
	some hold in data.kubernaut.rules.dispatch[name].hold
	hold.step in _ready
}

_blocks[number] contains references.reason("dispatch", "precondition_failed", result) if {
	_settled
	some [number, result] in (_unmet - _in_time)
}

_skips[skip.step] contains reasons.reason(rules.policy("dispatch", name), object.remove(skip, ["step"])) if {
	_skipping_allowed
	some name
	some skip in data.kubernaut.rules.dispatch[name].skip
	skip.step in _ready
}

# Leaving steps out changes what the author asked for, so the author has to have allowed it.
_skipping_allowed if input.workflow.spec.adaptiveOrchestration.optimizationEnabled == true

_skipping_allowed if input.workflow.spec.adaptiveOrchestration.dynamicStepAdjustment == true

_warn contains {
	"code": "skip_not_allowed",
	"message": sprintf("%s would skip a step, which the workflow does not allow", [rules.policy("dispatch", name)]),
	"policy": "dispatch",
	"remedy": "set adaptiveOrchestration.optimizationEnabled in the workflow",
} if {
	not _skipping_allowed
	some name
	some skip in data.kubernaut.rules.dispatch[name].skip
	skip.step in _ready
}

_deny contains reasons.malformed(rules.policy("dispatch", name), "hold", hold) if {
	some name
	some hold in data.kubernaut.rules.dispatch[name].hold
	not _names_step[hold]
}

_deny contains reasons.malformed(rules.policy("dispatch", name), "skip", skip) if {
	some name
	some skip in data.kubernaut.rules.dispatch[name].skip
	not _names_step[skip]
}

_names_step contains entry if {
	some name
	some effect in ["hold", "skip"]
	some entry in data.kubernaut.rules.dispatch[name][effect]
	is_object(entry)
	is_number(entry.step)
}

_by_step(why) := [{"step": number, "reasons": sort(lines)} | some number, lines in why]

_startable := [number |
	some number in _ready
	not _holds[number]
	not _skips[number]
	not _blocks[number]
]

_starting := array.slice(_startable, 0, _free)

# Why nothing moves.

_suspended if input.workflow.spec.suspend == true

_wait contains {
	"code": "suspended",
	"message": "the workflow is suspended",
	"policy": "dispatch",
	"remedy": "set spec.suspend to false",
} if _suspended

_moves if (count(_starting) + count(_skips)) + count(_blocks) > 0

_wait contains {
	"code": "parallel_limit",
	"message": sprintf("at most %d steps may run at once, and %d do", [max_parallel, count(input.running)]),
	"policy": "dispatch",
} if {
	_sound
	not _moves
	count(_startable) > 0
}

_wait contains reason if {
	not _moves
	some lines in _holds
	some reason in lines
}

_wait contains {"code": "nothing_ready", "message": "no step is ready", "policy": "dispatch"} if {
	not _moves
	count(_startable) + count(_holds) == 0
}
