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
	[got.decision, got.undo, got.failure_reason] == ["deny", [], "rollback_failed"]
}

test_a_team_may_wait_or_deny[note] if {
	some note, tc in {
		"wait": {"rules": {"a": {"wait": {"not_yet"}}}, "want": "wait"},
		"deny": {"rules": {"a": {"deny": {"no"}}}, "want": "deny"},
	}
	got := rollback.verdict with input as q.rollback with data.kubernaut.rules.rollback as tc.rules
	got.decision == tc.want
}

test_a_rule_on_trial_is_heard if {
	heard := rollback.shadow with input as q.rollback with data.kubernaut.shadow.rollback as {"a": {"deny": {"hm"}}}
	heard == {{"code": "hm", "message": "hm", "policy": "shadow.rollback.a", "effect": "deny"}}
}
