package kubernaut.gates.completion_test

import data.kubernaut.gates.completion
import data.kubernaut.testing.questions as q

_references := {"shop-conditions:queue.rego": "queue"}

_late := q.put(q.completion, "/since", {"queue_empty": "2026-01-01T00:09:00Z"})

test_decision[note] if {
	some note, tc in {
		"a condition that holds is allowed": {"in": q.completion, "holds": {"queue_empty"}, "want": ["allow", set()]},
		"a step without conditions is allowed": {
			"in": q.without(q.completion, "/step/postConditions"),
			"holds": set(),
			"want": ["allow", set()],
		},
		"the empty question is denied": {"in": {}, "holds": set(), "want": ["deny", {"input_incomplete"}]},
		"a condition that does not hold yet is waited for": {
			"in": q.completion,
			"holds": set(),
			"want": ["wait", {"postcondition_unmet"}],
		},
		"a condition that has run out of time is denied": {
			"in": _late,
			"holds": set(),
			"want": ["deny", {"postcondition_failed"}],
		},
		"a set without the condition's type proves nothing": {
			"in": _late,
			"holds": {"other"},
			"want": ["deny", {"postcondition_failed"}],
		},
		"what is no set and no boolean proves nothing": {
			"in": _late,
			"holds": "queue_empty",
			"want": ["deny", {"postcondition_failed"}],
		},
		"a condition that is not required is allowed": {
			"in": q.put(_late, "/step/postConditions/0/required", false),
			"holds": set(),
			"want": ["allow", set()],
		},
	}
	got := completion.verdict with input as tc["in"]
		with data.kubernaut.references as _references
		with data.kubernaut.conditions as {"queue": {"holds": tc.holds}}
	[got.decision, q.codes(got)] == tc.want
}

test_what_is_not_required_only_warns if {
	got := completion.verdict with input as q.put(_late, "/step/postConditions/0/required", false)
	q.warnings(got) == {"postcondition_unmet"}
}

test_it_looks_again_soon_at_first_and_then_more_seldom[note] if {
	some note, tc in {
		"at once": {"since": {}, "want": 0.2},
		"after three seconds": {"since": {"queue_empty": "2026-01-01T00:09:57Z"}, "want": 1},
		"after a long time": {"since": {"queue_empty": "2026-01-01T00:09:31Z"}, "want": 2},
	}
	got := completion.verdict with input as q.put(q.completion, "/since", tc.since)
		with data.kubernaut.references as _references
		with data.kubernaut.conditions as {"queue": {"holds": set()}}
	got.next_check_seconds == tc.want
}

test_the_reason_of_the_failure_tells_who_said_no[note] if {
	some note, tc in {
		"the step's condition": {"in": _late, "rules": {}, "want": ["postcondition_failed", "execution_error"]},
		"a team": {"in": _late, "rules": {"a": {"deny": {"no"}}}, "want": ["policy_denied", "policy_denied"]},
	}
	got := completion.verdict with input as tc["in"] with data.kubernaut.rules.completion as tc.rules
	[got.failure_reason, got.error_type] == tc.want
}

test_a_team_s_wait_is_heard if {
	got := completion.verdict with input as q.without(q.completion, "/step/postConditions")
		with data.kubernaut.rules.completion as {"a": {"wait": {"not_yet"}}}
	got.decision == "wait"
	got.next_check_seconds == 2
}

test_a_condition_s_package_sees_the_step_and_asks_for_facts if {
	request := {"id": "queue", "verb": "get", "apiVersion": "v1", "kind": "ConfigMap", "namespace": "shop", "name": "queue"}
	got := completion.verdict with input as q.completion
		with data.kubernaut.references as _references
		with data.kubernaut.conditions as {"queue": {"holds": {"queue_empty"}, "facts": {request}}}
	got.decision == "wait"
	got.facts == [request]
}

test_a_rule_on_trial_is_heard if {
	heard := completion.shadow with input as q.completion with data.kubernaut.shadow.completion as {"a": {"warn": {"hm"}}}
	heard == {{"code": "hm", "message": "hm", "policy": "shadow.completion.a", "effect": "warn"}}
}
