package kubernaut.lib.references_test

import data.kubernaut.lib.references

_step := {"stepNumber": 1, "preConditions": [
	{"type": "queue_empty", "rego": "shop:queue.rego:holds", "description": "the queue must be empty", "timeout": "5s"},
	{"type": "replicas_match"},
	{"rego": "shop:queue.rego:holds"},
	{"type": "never_there", "rego": 5},
]}

test_only_entries_with_a_type_and_a_reference_are_judged if {
	got := references.judged(_step, "preConditions") with input as {}
		with data.kubernaut.references as {"shop:queue.rego": "queue"}
		with data.kubernaut.conditions as {"queue": {"holds": {"queue_empty"}}}
	[[result.type, result.passed, result.required, result.message, result.seconds] | some result in got] == [
		["queue_empty", true, true, "the queue must be empty", 5],
		["never_there", false, true, "it is judged by 5", 0],
	]
}

test_a_step_without_a_list_has_nothing_to_judge if references.judged({}, "preConditions") == []
