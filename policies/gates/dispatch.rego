# METADATA
# title: Dispatch
# description: Which of the steps that could start do start now? The lists take effect with the decision allow only.
# scope: subpackages
# schemas:
#   - input: schema.dispatch_input
package kubernaut.gates.dispatch

import data.kubernaut.lib.adaptive
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
		"skip": [{"step": number, "reason": min(why)} | some number, why in _left_out],
		"block": _by_step(_blocks),
		"max_parallel": max_parallel,
		"conditions": [object.union(references.reported(result), {"step": number}) | some [number, result] in _judged],
		"adjustments": sort(_adjustments),
	},
	v.blame(_answer, "policy_denied"),
	{"next_check_seconds": 1 | _worth_another_look},
	{"time_counts": false | _stands_still},
])

# METADATA
# description: What packages on trial would have said; apart, so that their faults cannot touch a verdict.
# entrypoint: true
shadow := rules.on_trial("dispatch")

_answer := v.answer("dispatch", {"deny": _deny, "wait": _wait, "warn": _warn, "facts": (_facts | _adaptive_facts)})

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

# Where nothing runs no event will come, and a team's limit may hang on the time.
_worth_another_look if {
	_answer.decision == "wait"
	not _suspended
	count(input.running) == 0
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

# While it is suspended nothing of a step is looked at: nothing is read, no condition judged, no clock runs.

_suspended if input.workflow.spec.suspend == true

_stands_still if {
	_suspended
	_answer.decision == "wait"
}

default _ready := []

_ready := [floor(number) | some number in input.ready] if {
	_sound
	not _suspended
}

# A set as a value, like others below: OPA would go through all of a partial rule again for each step that is looked up in it.
_is_ready := {number | some number in _ready}

_deny contains {
	"code": "input_incomplete",
	"message": "the question lacks the workflow, the ready steps or the running ones",
	"policy": "dispatch",
	"remedy": "the controller did not ask as this policy expects: deploy the controller and the policies of one release",
} if not _sound

# How many at once: the lowest of what the site, the workflow and the teams say. A missing setting means one.

# METADATA
# description: The number of attempts of a workflow that may run at once.
max_parallel := min({_usual_parallel} | {floor(wish.entry.max_parallel) | some wish in _counting})

_usual_parallel := max([0, floor(min(_limits))])

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
	_is_ready[step.stepNumber]
	some result in references.judged(step, "preConditions")
}

_facts contains request if {
	some step in input.steps
	_is_ready[step.stepNumber]
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

_kept_back := (object.keys(_holds) | object.keys(_skips)) | object.keys(_blocks)

_startable := [number |
	some number in _ready
	not _kept_back[number]
]

# Those that there is room for; one of them that is not needed makes room for another the next time, which is then looked at as well.
_candidates := array.slice(_startable, 0, _free)

_starting := [number | some number in _candidates; not _unneeded[number]]

# What changes of them, where the workflow allows it.

_considered := [object.union(step, {"stepNumber": floor(step.stepNumber)}) |
	some step in input.steps
	step.stepNumber in _candidates
]

_adaptive_facts contains request if {
	some step in _considered
	some request in (adaptive.reads(step) | adaptive.history(step))
}

_unneeded[step.stepNumber] contains {
	"code": "unnecessary",
	"message": why,
	"policy": sprintf("catalogue.%s", [step.action]),
	"remedy": "to have such steps run all the same, set adaptiveOrchestration.optimizationEnabled to false",
} if {
	some step in _considered
	some why in adaptive.unnecessary(_adjusted(step))
}

_left_out[number] contains reason if {
	some left_out in [_skips, _unneeded]
	some number, why in left_out
	some reason in why
}

_wishes contains {"kind": adaptive.kind(entry), "entry": entry, "policy": rules.policy("dispatch", name)} if {
	some name
	some entry in data.kubernaut.rules.dispatch[name].adjust
}

# What is wished for a step that is not ready is not judged yet.
_timely contains wish if {
	some wish in _wishes
	wish.kind == "lower"
}

_timely contains wish if {
	some wish in _wishes
	_is_ready[wish.entry.step]
}

_counting contains wish if {
	some wish in _timely
	adaptive.allowed(wish.kind)
}

_wishes_of[wish.entry.step] contains wish if some wish in _counting

_warn contains {
	"code": "adjust_not_allowed",
	"message": sprintf("%s would change how the workflow runs, which the workflow does not allow", [wish.policy]),
	"policy": "dispatch",
	"remedy": sprintf("set adaptiveOrchestration.%s in the workflow", [adaptive.switches[wish.kind]]),
} if {
	some wish in (_timely - _counting)
}

_deny contains reasons.malformed(rules.policy("dispatch", name), "adjust", entry) if {
	some name
	entries := data.kubernaut.rules.dispatch[name].adjust
	some entry in ({entry | some entry in entries} - adaptive.readable(entries))
}

# Step number → for how long one attempt may go on instead.

_longer[step.stepNumber] contains {"seconds": adaptive.longer(step, clock.seconds(wish.entry.timeout)), "reason": _told(wish)} if {
	some step in _considered
	some wish in _wishes_of[step.stepNumber]
}

_longer[step.stepNumber] contains adaptive.learned(step) if some step in _considered

# Step number → which amounts among its parameters are to be others.

_changes[step.stepNumber] contains {"parameter": parameter, "from": present, "to": adaptive.wanted(wish.entry), "reason": _told(wish)} if {
	some step in _considered
	some wish in _wishes_of[step.stepNumber]
	parameter := wish.entry.parameter
	present := adaptive.present(step, parameter)
	present != wish.entry.value
}

_adjusted(step) := object.union(step, {"parameters": adaptive.changed(step, changes)}) if {
	changes := {parameter: min(values) | some parameter, values in _values(_changes[step.stepNumber])}
}

_values(changes) := {parameter: {change.to | some change in changes; change.parameter == parameter} |
	some parameter in {change.parameter | some change in changes}
}

_deny contains {
	"code": "adjust_conflict",
	"message": sprintf("%s of step %d is to be changed in two ways at once", [parameter, number]),
	"policy": "dispatch",
	"remedy": "let one rule alone adjust one parameter of a step",
} if {
	some number, changes in _changes
	some parameter, values in _values(changes)
	count(values) > 1
}

_deny contains reasons.malformed(wish.policy, "adjust", wish.entry) if {
	some step in _considered
	some wish in _wishes_of[step.stepNumber]
	wish.kind == "adjust"
	not _possible[wish]
}

_possible contains wish if {
	some step in _considered
	some wish in _wishes_of[step.stepNumber]
	adaptive.has_amount(step, wish.entry.parameter)
}

_told(wish) := sprintf("%s (%s)", [substring(wish.entry.reason, 0, 512), wish.policy])

# What is told of it when it takes effect: of a step when it is left out or starts.

_adjustments contains {
	"step": number,
	"adjustment": "skip the step",
	"reason": sprintf("%s: %s (%s)", [reason.code, reason.message, reason.policy]),
} if {
	some number, why in _left_out
	reason := min(why)
}

_adjustments contains {
	"step": 0,
	"adjustment": sprintf("lower the number of steps at once from %d to %d", [_usual_parallel, max_parallel]),
	"reason": min({_told(wish) | some wish in _counting; wish.entry.max_parallel == max_parallel}),
} if {
	not _suspended
	max_parallel < _usual_parallel
}

_adjustments contains {
	"step": step.stepNumber,
	"adjustment": sprintf("extend the timeout from %v s to %v s", [adaptive.timeout(step), seconds]),
	"reason": min({one.reason | some one in _longer[step.stepNumber]; one.seconds == seconds}),
	"timeout_seconds": seconds,
} if {
	some step in _considered
	step.stepNumber in _starting
	seconds := max({one.seconds | some one in _longer[step.stepNumber]})
}

_adjustments contains {
	"step": step.stepNumber,
	"adjustment": sprintf("adjust %s from %v to %v", [change.parameter, change.from, change.to]),
	"reason": change.reason,
	"parameters": _adjusted(step).parameters,
} if {
	some step in _considered
	step.stepNumber in _starting
	some change in _changes[step.stepNumber]
}

# Why nothing moves.

_wait contains {
	"code": "suspended",
	"message": "the workflow is suspended",
	"policy": "dispatch",
	"remedy": "set spec.suspend to false",
} if _suspended

_moves if (count(_starting) + count(_left_out)) + count(_blocks) > 0

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
	not _suspended
	not _moves
	count(_startable) + count(_holds) == 0
}
