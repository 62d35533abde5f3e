package kubernaut.gates.verify_test

import data.kubernaut.gates.verify
import data.kubernaut.testing.objects
import data.kubernaut.testing.questions as q

_early := q.put(q.verify, "/facts/deployment", objects.found(objects.deployment))

_late := q.put(_early, "/attempt/since", {
	"desired_replicas_running": "2026-01-01T00:07:00Z",
	"deployment_health_check": "2026-01-01T00:07:00Z",
})

_overrides(terms) := {"scale_deployment": {"postconditions": {"desired_replicas_running": terms}}}

test_decision[note] if {
	some note, tc in {
		"conditions that hold are allowed": {"in": q.verify, "want": ["allow", set()]},
		"the empty question is denied": {"in": {}, "want": ["deny", {"action_unknown", "input_incomplete"}]},
		"an action that is gone is denied": {
			"in": q.put(q.verify, "/step/action", "scale_it"),
			"want": ["deny", {"action_unknown"}],
		},
		"a question without the attempt is denied": {
			"in": q.without(q.verify, "/attempt"),
			"want": ["deny", {"input_incomplete"}],
		},
		"what does not hold yet is waited for": {"in": _early, "want": ["wait", {"desired_replicas_running"}]},
		"what has run out of time is denied": {"in": _late, "want": ["deny", {"desired_replicas_running"}]},
		"a fact that is not known is waited for": {
			"in": q.put(q.verify, "/facts/deployment", objects.unknown("timeout")),
			"want": ["wait", {"fact_missing"}],
		},
		"what has run out of time is not denied before the facts are known": {
			"in": q.put(_late, "/facts/pods", objects.unknown("timeout")),
			"want": ["wait", {"fact_missing"}],
		},
		"a tightened timeout runs out earlier": {
			"in": json.patch(_early, [
				{"op": "add", "path": "/attempt/since", "value": {"desired_replicas_running": "2026-01-01T00:09:55Z"}},
				{"op": "add", "path": "/workflow/spec/conditionOverrides", "value": _overrides({"timeout": "2s"})},
			]),
			"want": ["deny", {"desired_replicas_running"}],
		},
		"a loosened timeout does not count": {
			"in": q.put(_late, "/workflow/spec/conditionOverrides", _overrides({"timeout": "2h", "required": false})),
			"want": ["deny", {"desired_replicas_running"}],
		},
	}
	got := verify.verdict with input as tc["in"] with data.kubernaut.settings as q.settings
	[got.decision, q.codes(got)] == tc.want
}

test_the_facts_are_read_as_the_action_s_account if {
	got := verify.verdict with input as q.verify
	got.service_account == "scale-deployment-sa"
}

test_an_action_that_does_not_declare_its_postconditions_is_denied if {
	got := verify.verdict with input as q.verify with data.kubernaut.actions as {"scale_deployment": {"permissions": [], "service_account": 7}}
	[got.decision, got.service_account, got.conditions] == ["deny", "", []]
}

test_a_postcondition_never_vanishes[note] if {
	some note, tc in {
		"without words": {"is": {"required": true}, "holds": set(), "want": ["deny", {"ready"}]},
		"without words, proven": {"is": {"required": true}, "holds": {"ready"}, "want": ["allow", set()]},
		"as text": {"is": "it must be ready", "holds": {"ready"}, "want": ["deny", {"ready"}]},
		"as nothing": {"is": null, "holds": {"ready"}, "want": ["deny", {"ready"}]},
	}
	entry := {"permissions": [], "service_account": "own-sa", "postconditions": {"ready": tc.is}, "holds": tc.holds}
	got := verify.verdict with input as q.verify
		with data.kubernaut.settings as q.settings
		with data.kubernaut.actions as {"scale_deployment": entry}
	[got.decision, q.codes(got)] == tc.want
}

test_what_is_not_required_only_warns if {
	starved := q.put(q.verify, "/facts/pods/items/0/status/reason", "Evicted")
	got := verify.verdict with input as starved
	got.decision == "allow"
	q.warnings(got) == {"resource_usage_acceptable"}
}

test_the_result_is_told_once_the_facts_are_known[note] if {
	some note, tc in {
		"known": {"in": q.verify, "want": 3},
		"not known": {"in": q.put(q.verify, "/facts", {}), "want": "none"},
	}
	got := verify.verdict with input as tc["in"]
	object.get(got.result, ["scaleResult", "previousReplicas"], "none") == tc.want
}

test_it_looks_again_soon_at_first_and_then_more_seldom[note] if {
	some note, tc in {
		"at once": {"since": {}, "want": 0.2},
		"after three seconds": {"since": {"desired_replicas_running": "2026-01-01T00:09:57Z"}, "want": 1},
		"after a long time": {"since": {"desired_replicas_running": "2026-01-01T00:09:00Z"}, "want": 2},
	}
	got := verify.verdict with input as q.put(_early, "/attempt/since", tc.since)
	got.next_check_seconds == tc.want
}

test_the_reason_of_the_failure_tells_who_said_no[note] if {
	some note, tc in {
		"a condition": {"in": _late, "rules": {}, "want": ["postcondition_failed", "execution_error"]},
		"a team": {"in": q.verify, "rules": {"a": {"deny": {"no"}}}, "want": ["policy_denied", "policy_denied"]},
	}
	got := verify.verdict with input as tc["in"] with data.kubernaut.rules.verify as tc.rules
	[got.failure_reason, got.error_type] == tc.want
}

test_a_team_is_asked_again_more_seldom[note] if {
	some note, tc in {
		"a team alone": {"in": q.verify, "want": 2},
		"a team and a condition": {"in": _early, "want": 0.2},
	}
	got := verify.verdict with input as tc["in"] with data.kubernaut.rules.verify as {"a": {"wait": {"not_yet"}}}
	[got.decision, got.next_check_seconds] == ["wait", tc.want]
}

test_a_rule_on_trial_is_heard if {
	heard := verify.shadow with input as q.verify with data.kubernaut.shadow.verify as {"a": {"deny": {"hm"}}}
	heard == {{"code": "hm", "message": "hm", "policy": "shadow.verify.a", "effect": "deny"}}
}
