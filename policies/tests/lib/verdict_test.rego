package kubernaut.lib.verdict_test

import data.kubernaut.lib.verdict

test_the_kind_of_error_follows_from_the_reason_of_the_failure[note] if {
	some note, tc in {
		"a right": {"reason": "rbac_validation_failed", "want": "insufficient_permissions"},
		"an object that is not there": {"reason": "resource_not_found", "want": "validation_error"},
		"a precondition": {"reason": "precondition_failed", "want": "validation_error"},
		"a postcondition": {"reason": "postcondition_failed", "want": "execution_error"},
		"an alert": {"reason": "workflow_triggered_new_alerts", "want": "execution_error"},
		"a person": {"reason": "approval_rejected", "want": "policy_denied"},
		"time": {"reason": "timeout", "want": "timeout"},
		"a reason that is not in the table": {"reason": "of_a_team", "want": "policy_denied"},
	}
	verdict.blame({"decision": "deny"}, tc.reason) == {"failure_reason": tc.reason, "error_type": tc.want}
}

test_only_a_denial_blames[decision] if {
	some decision in ["allow", "wait"]
	verdict.blame({"decision": decision}, "timeout") == {}
}

test_who_holds_a_gate_back[note] if {
	some note, tc in {
		"a team": {"decision": "wait", "by": ["rules.action.a"], "want": true},
		"a team and the catalogue": {"decision": "wait", "by": ["catalogue.x", "rules.action.a"], "want": false},
		"a denial of a team": {"decision": "deny", "by": ["rules.action.a"], "want": false},
	}
	said := {"decision": tc.decision, "reasons": [{"policy": policy} | some policy in tc.by]}
	_held(said) == tc.want
}

default _held(_) := false

_held(said) if verdict.held_by_team(said)
