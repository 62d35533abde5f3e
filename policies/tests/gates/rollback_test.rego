package kubernaut.gates.rollback_test

import data.kubernaut.gates.rollback
import data.kubernaut.testing.questions as q

_step(number, status, order) := {
	"stepNumber": number,
	"status": status,
	"completionOrder": order,
	"operationsSent": true,
	"reversible": true,
}

_asked(steps) := q.put(q.rollback, "/steps", steps)

test_the_order_of_undoing[note] if {
	some note, tc in {
		"the last completed comes first": {
			"steps": [_step(1, "completed", 1), _step(2, "completed", 3), _step(3, "completed", 2)],
			"want": [2, 3, 1],
		},
		"the failed one comes before all others": {
			"steps": [_step(1, "completed", 1), _step(2, "failed", 0), _step(3, "completed", 2)],
			"want": [2, 3, 1],
		},
		"what sent nothing is left alone": {
			"steps": [_step(1, "completed", 1), object.union(_step(2, "failed", 0), {"operationsSent": false})],
			"want": [1],
		},
		"what is undone is not undone again": {
			"steps": [_step(1, "completed", 1), _step(2, "rolled_back", 2), _step(3, "rollback_failed", 3)],
			"want": [1],
		},
		"what was skipped after a try is undone too": {
			"steps": [_step(1, "completed", 1), _step(2, "skipped", 0)],
			"want": [2, 1],
		},
		"what cannot be undone is left out": {
			"steps": [_step(1, "completed", 1), object.union(_step(2, "completed", 2), {"reversible": false})],
			"want": [1],
		},
		"an author's way back is taken though the action has none": {
			"steps": [object.union(_step(1, "completed", 1), {"reversible": false, "rollbackSpec": {"action": "uncordon_node"}})],
			"want": [1],
		},
		"nothing started means nothing to undo": {"steps": [], "want": []},
	}
	got := rollback.verdict with input as _asked(tc.steps)
	got.decision == "allow"
	[got.undo, got.overwrite, got.stop_for_human] == [tc.want, [], false]
}

test_what_cannot_be_undone_is_named if {
	got := rollback.verdict with input as _asked([object.union(_step(2, "completed", 2), {"reversible": false})])
	q.warnings(got) == {"irreversible_step"}
	contains(got.warnings[0].message, "step 2")
}

test_the_empty_question_undoes_nothing if {
	got := rollback.verdict with input as {}
	[got.decision, got.undo, got.failure_reason, got.error_type] == ["deny", [], "rollback_failed", "execution_error"]
}

test_a_team_may_wait_or_deny[note] if {
	some note, tc in {
		"wait": {"rules": {"a": {"wait": {"not_yet"}}}, "want": "wait"},
		"deny": {"rules": {"a": {"deny": {"no"}}}, "want": "deny"},
	}
	got := rollback.verdict with input as q.rollback with data.kubernaut.rules.rollback as tc.rules
	got.decision == tc.want
}

_pod := {"id": "x", "verb": "get", "apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "x"}

test_a_team_may_have_something_read_and_warn if {
	rules := {"a": {"facts": {_pod}, "warn": {"hm"}}}
	before := rollback.verdict with input as q.rollback with data.kubernaut.rules.rollback as rules
	[before.decision, q.codes(before), before.facts] == ["wait", {"fact_missing"}, [_pod]]
	known := q.with_fact(q.rollback, "x", {"available": true, "found": false})
	after := rollback.verdict with input as known with data.kubernaut.rules.rollback as rules
	[after.decision, q.warnings(after)] == ["allow", {"hm"}]
}

test_a_team_may_have_a_later_change_overwritten[note] if {
	some note, tc in {
		"of a step that is to be undone": {"rules": {"overwrite": {{"step": 2, "reason": "ours"}}}, "want": [2]},
		"of several": {"rules": {"overwrite": {{"step": 1, "reason": "ours"}, {"step": 2, "reason": "ours"}}}, "want": [2, 1]},
		"of no other step": {"rules": {"overwrite": {{"step": 3, "reason": "ours"}}}, "want": []},
		"not before all is known": {"rules": {"overwrite": {{"step": 2, "reason": "ours"}}, "facts": {_pod}}, "want": []},
	}
	got := rollback.verdict with input as q.rollback with data.kubernaut.rules.rollback as {"a": tc.rules}
	[got.undo, got.overwrite, got.stop_for_human] == [[2, 1], tc.want, false]
}

test_that_a_later_change_may_be_overwritten_is_told if {
	got := rollback.verdict with input as q.rollback
		with data.kubernaut.rules.rollback as {"a": {"overwrite": {{"step": 2, "reason": "ours"}}}}
	got.warnings == [{
		"code": "overwrite_allowed",
		"message": "step 2 is taken back even if its target was changed since: ours",
		"policy": "rules.rollback.a",
	}]
}

test_an_overwrite_that_cannot_be_read_is_denied[note] if {
	some note, tc in {
		"a number": {"rules": {"overwrite": {2}}, "want": {"rule_is_malformed"}},
		"no step": {"rules": {"overwrite": {{"reason": "ours"}}}, "want": {"rule_is_malformed"}},
		"no reason": {"rules": {"overwrite": {{"step": 2}}}, "want": {"rule_is_malformed"}},
		"no words": {"rules": {"overwrite": {{"step": 2, "reason": ""}}}, "want": {"rule_is_malformed"}},
		"no set": {"rules": {"overwrite": [{"step": 2, "reason": "ours"}]}, "want": {"rule_is_not_a_set"}},
	}
	got := rollback.verdict with input as q.rollback with data.kubernaut.rules.rollback as {"a": tc.rules}
	[got.decision, q.codes(got), got.overwrite] == ["deny", tc.want, []]
}

test_a_team_may_leave_the_rest_to_people[note] if {
	some note, tc in {
		"with a reason": {
			"in": q.rollback,
			"rules": {"stop": {{"code": "data_at_risk", "message": "m"}}},
			"want": ["allow", true, {"data_at_risk"}],
		},
		"with a code alone": {"in": q.rollback, "rules": {"stop": {"data_at_risk"}}, "want": ["allow", true, {"data_at_risk"}]},
		"with a reason that cannot be read": {"in": q.rollback, "rules": {"stop": {5}}, "want": ["allow", true, {"malformed_reason"}]},
		"not where nothing is left": {"in": _asked([]), "rules": {"stop": {"data_at_risk"}}, "want": ["allow", false, set()]},
		"not before all is known": {
			"in": q.rollback,
			"rules": {"stop": {"data_at_risk"}, "facts": {_pod}},
			"want": ["wait", false, {"fact_missing"}],
		},
		"not by what is no set": {"in": q.rollback, "rules": {"stop": true}, "want": ["deny", false, {"rule_is_not_a_set"}]},
	}
	got := rollback.verdict with input as tc["in"] with data.kubernaut.rules.rollback as {"a": tc.rules}
	[got.decision, got.stop_for_human, q.codes(got)] == tc.want
}

test_a_rule_on_trial_is_heard if {
	heard := rollback.shadow with input as q.rollback with data.kubernaut.shadow.rollback as {"a": {"deny": {"hm"}}}
	heard == {{"code": "hm", "message": "hm", "policy": "shadow.rollback.a", "effect": "deny"}}
}
