# METADATA
# title: Rollback
# description: Which steps are still to be taken back, in this order? The step that failed before all others, then the last completed first.
# scope: subpackages
# schemas:
#   - input: schema.rollback_input
package kubernaut.gates.rollback

import data.kubernaut.lib.reasons
import data.kubernaut.lib.rules
import data.kubernaut.lib.undo
import data.kubernaut.lib.verdict as v

# METADATA
# description: The whole answer; defined for every input.
# entrypoint: true
default verdict := {
	"decision": "deny",
	"reasons": [{
		"code": "verdict_undefined",
		"message": "the gate could not judge this question",
		"policy": "rollback",
		"remedy": "a policy fails on this question; `phasegate policy status` lists the latest changes: take back the one that brought it",
	}],
	"warnings": [],
	"facts": [],
	"undo": [],
	"overwrite": [],
	"stop_for_human": false,
}

verdict := object.union_n([
	_answer,
	{
		"reasons": array.concat(_answer.reasons, sort(_stops)),
		"undo": _undo,
		"overwrite": [number | some number in _undo; _overwrites[number]; _answer.decision == "allow"],
		"stop_for_human": count(_stops) > 0,
	},
	v.blame(_answer, "rollback_failed"),
	{"next_check_seconds": 1 | _answer.decision == "wait"},
])

# METADATA
# description: What packages on trial would have said; apart, so that their faults cannot touch a verdict.
# entrypoint: true
shadow := rules.on_trial("rollback")

_answer := v.answer("rollback", {"deny": _deny, "wait": set(), "warn": _warn, "facts": set()})

_sound if {
	is_array(input.steps)
	every step in input.steps {
		step.stepNumber == floor(step.stepNumber)
	}
}

default _steps := []

_steps := input.steps if _sound

_deny contains {
	"code": "input_incomplete",
	"message": "the question lacks the started steps",
	"policy": "rollback",
	"remedy": "the controller did not ask as this policy expects: deploy the controller and the policies of one release",
} if not _sound

_candidates := undo.candidates(_steps)

_completed := [number |
	some [_, number] in array.reverse(sort([[object.get(step, "completionOrder", 0), floor(step.stepNumber)] |
		some step in _candidates
		step.status == "completed"
	]))
]

_undo := array.concat(_failed, _completed)

# Whatever is not completed was stopped in the middle: that comes first.
_failed := array.reverse(sort([floor(step.stepNumber) |
	some step in _candidates
	object.get(step, "status", "") != "completed"
]))

_warn contains {
	"code": "irreversible_step",
	"message": sprintf("step %d cannot be taken back and counts as undone", [step.stepNumber]),
	"policy": "rollback",
	"remedy": "look at what it changed by hand",
} if {
	some step in undo.irreversible(_steps)
}

# What teams add: no step may be overwritten, and nobody is called, before all that was asked for is known.

_stops contains reasons.reason(rules.policy("rollback", name), entry) if {
	_answer.decision == "allow"

	# What has come to its end is not stopped any more.
	count(_undo) > 0
	some name
	some entry in data.kubernaut.rules.rollback[name].stop
}

_overwrites[number] contains {
	"code": "overwrite_allowed",
	"message": sprintf("step %d is taken back even if its target was changed since: %s", [number, substring(entry.reason, 0, 512)]),
	"policy": rules.policy("rollback", name),
} if {
	some number in _undo
	some name
	some entry in data.kubernaut.rules.rollback[name].overwrite
	undo.is_overwrite(entry)
	entry.step == number
}

_warn contains warning if {
	some warnings in _overwrites
	some warning in warnings
}

_readable contains entry if {
	some name
	some entry in data.kubernaut.rules.rollback[name].overwrite
	undo.is_overwrite(entry)
}

_deny contains reasons.malformed(rules.policy("rollback", name), "overwrite", entry) if {
	some name
	some entry in data.kubernaut.rules.rollback[name].overwrite
	not _readable[entry]
}
