# METADATA
# title: Undo
# description: Which steps can be taken back, and which count as undone because nothing can take them back.
package kubernaut.lib.undo

# METADATA
# description: The steps that changed something and can be taken back.
candidates(steps) := [step |
	some step in steps
	is_candidate(step)
]

# METADATA
# scope: document
# description: True for a step that changed something and can be taken back, by its record or by its author's rollbackSpec.
is_candidate(step) if {
	is_touched(step)
	step.reversible == true
}

is_candidate(step) if {
	is_touched(step)
	is_object(step.rollbackSpec)
}

# METADATA
# description: The steps that changed something and cannot be taken back.
irreversible(steps) := [step |
	some step in steps
	is_touched(step)
	object.get(step, "reversible", false) != true
	type_name(object.get(step, "rollbackSpec", "")) != "object"
]

# METADATA
# description: True for a step of which operations were sent and which is not settled by an undo already; a step may be skipped after a try.
is_touched(step) if {
	step.operationsSent == true
	is_number(step.stepNumber)
	count({object.get(step, "status", "")} & {"rolled_back", "rollback_failed"}) == 0
}

# METADATA
# description: True for an entry of a team's `overwrite` that can be carried out.
is_overwrite(entry) if {
	is_number(entry.step)
	is_string(entry.reason)
	count(entry.reason) > 0
}
