package kubernaut.gates.dispatch_test

import data.kubernaut.gates.dispatch
import data.kubernaut.testing.questions as q

_references := {"shop-conditions:queue.rego": "queue"}

_met := {"queue": {"holds": {"queue_empty"}}}

_unmet := {"queue": {"holds": set()}}

_case(got) := {
	"decision": got.decision,
	"codes": q.codes(got),
	"start": got.start,
	"hold": {h.step | some h in got.hold},
	"skip": {s.step | some s in got.skip},
	"block": {b.step | some b in got.block},
	"max_parallel": got.max_parallel,
}

_nothing := {"codes": set(), "start": [], "hold": set(), "skip": set(), "block": set(), "max_parallel": 5}

_adaptive := q.put(q.dispatch, "/workflow/spec/adaptiveOrchestration", {"optimizationEnabled": true})

_optional := q.put(q.dispatch, "/steps/0/preConditions/0/required", false)

test_decision[note] if {
	some note, tc in {
		"what is ready starts": {"want": {"decision": "allow", "start": [1, 2]}},
		"the empty question is denied": {
			"in": {},
			"want": {"decision": "deny", "codes": {"input_incomplete", "nothing_ready"}},
		},
		"a ready step that is not described is denied": {
			"in": q.put(q.dispatch, "/ready", [1, 2, 7]),
			"want": {"decision": "deny", "codes": {"input_incomplete", "nothing_ready"}},
		},
		"nothing ready is waited for": {
			"in": q.put(q.dispatch, "/ready", []),
			"want": {"decision": "wait", "codes": {"nothing_ready"}},
		},
		"only the first ones start where there is no room for all": {
			"in": q.put(q.dispatch, "/workflow/spec/executionStrategy/maxParallelSteps", 2),
			"want": {"decision": "allow", "start": [1], "max_parallel": 2},
		},
		"no room is waited for": {
			"in": q.put(q.dispatch, "/workflow/spec/executionStrategy/maxParallelSteps", 1),
			"want": {"decision": "wait", "codes": {"parallel_limit"}, "max_parallel": 1},
		},
		"the workflow cannot raise the site's limit": {
			"in": q.put(q.dispatch, "/workflow/spec/executionStrategy/maxParallelSteps", 50),
			"want": {"decision": "allow", "start": [1, 2]},
		},
		"a missing setting means one at a time": {
			"settings": {},
			"want": {"decision": "wait", "codes": {"parallel_limit"}, "max_parallel": 1},
		},
		"the lowest limit of the teams wins": {
			"rules": {"a": {"limit": {3, 2}}, "b": {"limit": {4}}},
			"want": {"decision": "allow", "start": [1], "max_parallel": 2},
		},
		"a limit below zero is none at all": {
			"rules": {"a": {"limit": {-1}}},
			"want": {"decision": "wait", "codes": {"parallel_limit"}, "max_parallel": 0},
		},
		"a limit that is no number is denied": {
			"rules": {"a": {"limit": {"2"}}},
			"want": {"decision": "deny", "codes": {"rule_is_malformed"}},
		},
		"a limit that is no set is denied": {
			"rules": {"a": {"limit": 2}},
			"want": {"decision": "deny", "codes": {"rule_is_not_a_set"}},
		},
		"a suspended workflow starts nothing": {
			"in": q.put(q.dispatch, "/workflow/spec/suspend", true),
			"want": {"decision": "wait", "codes": {"suspended"}},
		},
		"a held step lets the others go": {
			"rules": {"a": {"hold": {{"step": 1, "code": "not_now"}}}},
			"want": {"decision": "allow", "start": [2], "hold": {1}},
		},
		"every step held is waited for, with the reasons": {
			"rules": {"a": {"hold": {{"step": 1, "code": "not_now"}, {"step": 2, "code": "nor_this"}}}},
			"want": {"decision": "wait", "codes": {"not_now", "nor_this"}, "hold": {1, 2}},
		},
		"a hold without a step is denied": {
			"rules": {"a": {"hold": {{"code": "not_now"}}}},
			"want": {"decision": "deny", "codes": {"rule_is_malformed"}},
		},
		"a hold that is text is denied": {
			"rules": {"a": {"hold": {"not_now"}}},
			"want": {"decision": "deny", "codes": {"rule_is_malformed"}},
		},
		"a hold that is a number is denied": {
			"rules": {"a": {"hold": {1}}},
			"want": {"decision": "deny", "codes": {"rule_is_malformed"}},
		},
		"a hold of a step in words is denied": {
			"rules": {"a": {"hold": {{"step": "1", "code": "not_now"}}}},
			"want": {"decision": "deny", "codes": {"rule_is_malformed"}},
		},
		"a hold of a step that is not ready is none": {
			"rules": {"a": {"hold": {{"step": 3, "code": "not_now"}}}},
			"want": {"decision": "allow", "start": [1, 2]},
		},
		"a step is skipped where the workflow allows it": {
			"in": _adaptive,
			"rules": {"a": {"skip": {{"step": 1, "code": "not_needed"}}}},
			"want": {"decision": "allow", "start": [2], "skip": {1}},
		},
		"a step is skipped where the workflow allows adjustments": {
			"in": q.put(q.dispatch, "/workflow/spec/adaptiveOrchestration", {"dynamicStepAdjustment": true}),
			"rules": {"a": {"skip": {{"step": 1, "code": "not_needed"}}}},
			"want": {"decision": "allow", "start": [2], "skip": {1}},
		},
		"no step is skipped where the workflow does not allow it": {
			"rules": {"a": {"skip": {{"step": 1, "code": "not_needed"}}}},
			"want": {"decision": "allow", "start": [1, 2]},
		},
		"a skip without a step is denied": {
			"rules": {"a": {"skip": {{"code": "not_needed"}}}},
			"want": {"decision": "deny", "codes": {"rule_is_malformed"}},
		},
		"a skip that is text is denied": {
			"rules": {"a": {"skip": {"not_needed"}}},
			"want": {"decision": "deny", "codes": {"rule_is_malformed"}},
		},
		"a skip that is nothing is denied": {
			"rules": {"a": {"skip": {null}}},
			"want": {"decision": "deny", "codes": {"rule_is_malformed"}},
		},
		"a skip that is a list is denied, whatever the workflow allows": {
			"in": _adaptive,
			"rules": {"a": {"skip": {[1, "not_needed"]}}},
			"want": {"decision": "deny", "codes": {"rule_is_malformed"}},
		},
		"a team's denial stops everything": {
			"rules": {"a": {"deny": {{"code": "frozen", "message": "no", "remedy": "later"}}}},
			"want": {"decision": "deny", "codes": {"frozen"}},
		},
		"a team's wait stops everything for now": {
			"rules": {"a": {"wait": {"not_yet"}}},
			"want": {"decision": "wait", "codes": {"not_yet"}},
		},
		"a fact that a team asks for is waited for": {
			"rules": {"a": {"facts": {{"id": "x", "verb": "get", "apiVersion": "v1", "kind": "Pod", "name": "x"}}}},
			"want": {"decision": "wait", "codes": {"fact_missing"}},
		},
		"a precondition that does not hold yet holds its step": {
			"conditions": _unmet,
			"want": {"decision": "allow", "start": [2], "hold": {1}},
		},
		"a precondition that has run out of time blocks its step": {
			"in": q.put(q.dispatch, "/since", {"1/queue_empty": "2026-01-01T00:09:00Z"}),
			"conditions": _unmet,
			"want": {"decision": "allow", "start": [2], "block": {1}},
		},
		"a precondition with a fact still unknown blocks nothing": {
			"in": q.put(q.dispatch, "/since", {"1/queue_empty": "2026-01-01T00:09:00Z"}),
			"conditions": {"queue": {"holds": set(), "facts": {{"id": "x", "verb": "get", "apiVersion": "v1", "kind": "Pod", "name": "x"}}}},
			"want": {"decision": "wait", "codes": {"fact_missing"}},
		},
		"a precondition that is not required only warns": {
			"in": _optional,
			"conditions": _unmet,
			"want": {"decision": "allow", "start": [1, 2]},
		},
		"a boolean may prove a precondition": {
			"in": q.put(q.dispatch, "/steps/0/preConditions/0/rego", "shop-conditions:queue.rego:empty"),
			"conditions": {"queue": {"empty": true}},
			"want": {"decision": "allow", "start": [1, 2]},
		},
		"a precondition without a timeout blocks at once": {
			"in": q.without(q.dispatch, "/steps/0/preConditions/0/timeout"),
			"conditions": _unmet,
			"want": {"decision": "allow", "start": [2], "block": {1}},
		},
	}
	got := dispatch.verdict with input as object.get(tc, "in", q.dispatch)
		with data.kubernaut.settings as object.get(tc, "settings", q.settings)
		with data.kubernaut.references as _references
		with data.kubernaut.conditions as object.get(tc, "conditions", _met)
		with data.kubernaut.rules.dispatch as object.get(tc, "rules", {})
	_case(got) == object.union(_nothing, tc.want)
}

test_it_asks_again_by_itself_only_where_time_may_help[note] if {
	some note, tc in {
		"not while suspended": {"in": q.put(q.dispatch, "/workflow/spec/suspend", true), "rules": {}, "want": set()},
		"while a step is held": {"in": q.dispatch, "rules": {"a": {"hold": {{"step": 1, "code": "not_now"}}}}, "want": {1}},
		"while a team waits": {"in": q.dispatch, "rules": {"a": {"wait": {"not_yet"}}}, "want": {1}},
		"while a fact is unknown": {
			"in": q.dispatch,
			"rules": {"a": {"facts": {{"id": "x", "verb": "get", "apiVersion": "v1", "kind": "Pod", "name": "x"}}}},
			"want": {1},
		},
	}
	got := dispatch.verdict with input as tc["in"]
		with data.kubernaut.settings as q.settings
		with data.kubernaut.references as _references
		with data.kubernaut.conditions as _met
		with data.kubernaut.rules.dispatch as tc.rules
	{seconds | seconds := got.next_check_seconds} == tc.want
}

test_what_is_ignored_is_told[note] if {
	some note, tc in {
		"a skip that the workflow does not allow": {
			"in": q.dispatch,
			"rules": {"a": {"skip": {{"step": 1, "code": "not_needed"}}}},
			"want": {"skip_not_allowed"},
		},
		"a precondition that is not required": {"in": _optional, "rules": {}, "want": {"precondition_unmet"}},
	}
	got := dispatch.verdict with input as tc["in"]
		with data.kubernaut.settings as q.settings
		with data.kubernaut.references as _references
		with data.kubernaut.conditions as _unmet
		with data.kubernaut.rules.dispatch as tc.rules
	q.warnings(got) & tc.want == tc.want
}

test_a_denial_says_so if {
	got := dispatch.verdict with input as {}
	got.failure_reason == "policy_denied"
}

test_a_rule_on_trial_is_heard_and_has_no_effect if {
	trial := {"a": {"limit": {1}}}
	got := dispatch.verdict with input as q.dispatch
		with data.kubernaut.settings as q.settings
		with data.kubernaut.references as _references
		with data.kubernaut.conditions as _met
		with data.kubernaut.shadow.dispatch as trial
	got.start == [1, 2]
	heard := dispatch.shadow with input as q.dispatch with data.kubernaut.shadow.dispatch as trial
	heard == {{"code": "limit", "message": "1", "policy": "shadow.dispatch.a", "effect": "limit"}}
}
