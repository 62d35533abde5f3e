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
		["never_there", false, true, "it is judged by 5 (its rule is undefined)", 0],
	]
}

test_a_step_without_a_list_has_nothing_to_judge if references.judged({}, "preConditions") == []

test_what_proves_nothing_is_said[note] if {
	some note, tc in {
		"a boolean that is true": {"rule": {"rule": true}, "want": [true, ""]},
		"a boolean that is false": {"rule": {"rule": false}, "want": [false, ""]},
		"a set without the type": {"rule": {"rule": {"other"}}, "want": [false, ""]},
		"a text": {"rule": {"rule": "yes"}, "want": [false, " (its rule says a string, neither true nor a set)"]},
		"a number": {"rule": {"rule": 1}, "want": [false, " (its rule says a number, neither true nor a set)"]},
		"null": {"rule": {"rule": null}, "want": [false, " (its rule says a null, neither true nor a set)"]},
		"another rule": {"rule": {"holds": true}, "want": [false, " (its rule is undefined)"]},
	}
	step := {"stepNumber": 1, "preConditions": [{"type": "t", "description": "d", "rego": "shop:q.rego:rule"}]}
	[result] := references.judged(step, "preConditions") with input as {}
		with data.kubernaut.references as {"shop:q.rego": "q"}
		with data.kubernaut.conditions as {"q": tc.rule}
	[result.passed, result.message] == [tc.want[0], concat("", ["d", tc.want[1]])]
}
