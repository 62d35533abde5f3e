package kubernaut.gates.dispatch_test

import data.kubernaut.gates.dispatch
import data.kubernaut.testing.objects
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
	[got.failure_reason, got.error_type] == ["policy_denied", "policy_denied"]
}

# Each of the tests below asks with the same settings and conditions.
_verdict(question, rules) := got if {
	# regal ignore:with-outside-test-context
	got := dispatch.verdict with input as question
		with data.kubernaut.settings as q.settings
		with data.kubernaut.references as _references
		with data.kubernaut.conditions as _unmet
		with data.kubernaut.rules.dispatch as rules
}

test_time_stands_still_while_suspended_and_nothing_is_looked_at if {
	suspended := q.put(_allowing({"optimizationEnabled": true, "learningFromHistory": true}), "/workflow/spec/suspend", true)
	got := _verdict(suspended, {"a": {"hold": {{"step": 1, "code": "not_now"}}, "adjust": {_lower, _extend}}})
	[got.decision, got.time_counts, q.codes(got)] == ["wait", false, {"suspended"}]
	[got.conditions, got.facts, got.hold, got.adjustments] == [[], [], [], []]
}

test_time_counts_otherwise[note] if {
	some note, tc in {
		"while there is no room": {"in": q.put(q.dispatch, "/workflow/spec/executionStrategy/maxParallelSteps", 1), "rules": {}},
		"while a team waits": {"in": q.dispatch, "rules": {"a": {"wait": {"not_yet"}}}},
		"when a suspended workflow is denied": {
			"in": q.put(q.dispatch, "/workflow/spec/suspend", true),
			"rules": {"a": {"deny": {"no"}}},
		},
		"when steps start": {"in": q.dispatch, "rules": {}},
	}
	got := _verdict(tc["in"], tc.rules)
	object.get(got, "time_counts", true)
}

# What policy may change of a workflow that runs.

_allowing(switches) := q.put(_optional, "/workflow/spec/adaptiveOrchestration", switches)

_all_on := _allowing({"optimizationEnabled": true, "learningFromHistory": true, "dynamicStepAdjustment": true})

_lower := {"max_parallel": 2, "reason": "busy hours"}

_extend := {"step": 1, "timeout": "10m", "reason": "slow nodes"}

_adjust := {"step": 1, "parameter": "replicas", "value": 4, "between": [1, 5], "reason": "quota"}

_done := {"adaptive/1/deployment": objects.found(objects.scaled(5))}

_past := {"history/2": {
	"available": true,
	"found": true,
	"count": 12,
	"successes": 11,
	"success_rate": 0.92,
	"p50_seconds": 90,
	"durationSeconds": {"p95": 240},
	"last_outcome": "completed",
}}

_changed(got) := {[change.step, change.adjustment, change.reason] | some change in got.adjustments}

test_each_switch_allows_its_own_changes[note] if {
	some note, tc in {
		"none is allowed": {
			"switches": {},
			"facts": set(),
			"warnings": {"adjust_not_allowed"},
			"want": set(),
		},
		"optimization": {
			"switches": {"optimizationEnabled": true},
			"facts": {"adaptive/1/deployment"},
			"warnings": {"adjust_not_allowed"},
			"want": {
				[0, "lower the number of steps at once from 5 to 2", "busy hours (rules.dispatch.a)"],
				[1, "skip the step", "unnecessary: web runs 5 replicas already, all available (catalogue.scale_deployment)"],
			},
		},
		"learning": {
			"switches": {"learningFromHistory": true},
			"facts": {"history/1", "history/2"},
			"warnings": {"adjust_not_allowed"},
			"want": {
				[1, "extend the timeout from 300 s to 600 s", "slow nodes (rules.dispatch.a)"],
				[2, "extend the timeout from 300 s to 480 s", "of 12 earlier attempts, 95 % were done within 240 s (history)"],
			},
		},
		"adjusting": {
			"switches": {"dynamicStepAdjustment": true},
			"facts": set(),
			"warnings": {"adjust_not_allowed"},
			"want": {[1, "adjust replicas from 5 to 4", "quota (rules.dispatch.a)"]},
		},
		"all of them": {
			"switches": {"optimizationEnabled": true, "learningFromHistory": true, "dynamicStepAdjustment": true},
			"facts": {"adaptive/1/deployment", "history/1"},
			"warnings": set(),
			"want": {
				[0, "lower the number of steps at once from 5 to 2", "busy hours (rules.dispatch.a)"],
				[1, "extend the timeout from 300 s to 600 s", "slow nodes (rules.dispatch.a)"],
				[1, "adjust replicas from 5 to 4", "quota (rules.dispatch.a)"],
			},
		},
	}
	question := object.union(_allowing(tc.switches), {"facts": object.union(_done, _past)})
	got := _verdict(question, {"a": {"adjust": {_lower, _extend, _adjust}}})
	got.decision == "allow"
	_changed(got) == tc.want
	{request.id | some request in got.facts} == tc.facts
	q.warnings(got) - {"precondition_unmet"} == tc.warnings
}

test_a_step_that_is_not_needed_is_left_out_and_makes_room_for_the_next_time if {
	question := q.put(_allowing({"optimizationEnabled": true}), "/workflow/spec/executionStrategy/maxParallelSteps", 2)
	got := _verdict(object.union(question, {"facts": _done}), {})
	[got.decision, got.start, [one.step | some one in got.skip]] == ["allow", [], [1]]
	got.skip[0].reason == {
		"code": "unnecessary",
		"message": "web runs 5 replicas already, all available",
		"policy": "catalogue.scale_deployment",
		"remedy": "to have such steps run all the same, set adaptiveOrchestration.optimizationEnabled to false",
	}
}

test_a_step_that_something_is_left_to_do_of_starts[note] if {
	some note, tc in {
		"the goal is another one": {"path": "/steps/0/parameters/scaleDeployment/replicas", "value": 6},
		"it was tried before": {"path": "/steps/0/attempts", "value": 1},
		"nothing is known": {"path": "/facts", "value": {"adaptive/1/deployment": objects.unknown("forbidden")}},
		"what is known is of another step": {"path": "/facts", "value": {"adaptive/11/deployment": objects.found(objects.scaled(5))}},
		"its object is out of reach": {"path": "/steps/0/parameters/scaleDeployment/namespace", "value": "other"},
	}
	question := object.union(_allowing({"optimizationEnabled": true}), {"facts": _done})
	got := _verdict(q.put(question, tc.path, tc.value), {})
	[got.decision, got.start, got.skip] == ["allow", [1, 2], []]
}

test_a_change_of_a_step_is_told_when_it_starts[note] if {
	some note, tc in {
		"when it starts": {"in": _all_on, "rules": {}, "want": {1}},
		"not while it is held": {"in": _all_on, "rules": {"b": {"hold": {{"step": 1, "code": "not_now"}}}}, "want": set()},
		"not without room": {"in": q.put(_all_on, "/workflow/spec/executionStrategy/maxParallelSteps", 1), "rules": {}, "want": set()},
		"not before it is ready": {"in": q.put(_all_on, "/ready", [2]), "rules": {}, "want": set()},
	}
	got := _verdict(tc["in"], object.union({"a": {"adjust": {_extend, _adjust}}}, tc.rules))
	{change.step | some change in got.adjustments} == tc.want
}

test_what_a_change_carries if {
	got := _verdict(_all_on, {"a": {"adjust": {_extend, _adjust}}})
	{object.remove(change, ["adjustment", "reason"]) | some change in got.adjustments} == {
		{"step": 1, "timeout_seconds": 600},
		{"step": 1, "parameters": {"scaleDeployment": {"deployment": "web", "replicas": 4}}},
	}
}

test_whole_numbers_are_written_as_such if {
	rules := {"a": {"adjust": {{"max_parallel": 2.0, "reason": "r"}, object.union(_adjust, {"value": 4.0})}}}
	got := _verdict(_all_on, rules)
	json.marshal(got.max_parallel) == "2"
	{json.marshal(change.parameters) | some change in got.adjustments} == {`{"scaleDeployment":{"deployment":"web","replicas":4}}`}
}

test_every_change_of_parameters_carries_all_of_them if {
	step := {"action": "update_hpa", "parameters": {"updateHpa": {"name": "web", "minReplicas": 2, "maxReplicas": 9}}}
	least := {"step": 1, "parameter": "minReplicas", "value": 3, "one_of": [3, 4], "reason": "r"}
	most := {"step": 1, "parameter": "maxReplicas", "value": 8, "between": [8, 9], "reason": "r"}
	hpa := json.patch(_all_on, [{"op": "add", "path": concat("/", ["/steps/0", key]), "value": value} | some key, value in step])
	got := _verdict(hpa, {"a": {"adjust": {least}}, "b": {"adjust": {most}}})
	count(got.adjustments) == 2
	{change.parameters | some change in got.adjustments} == {{"updateHpa": {"name": "web", "minReplicas": 3, "maxReplicas": 8}}}
}

test_of_several_wishes_one_counts[note] if {
	some note, tc in {
		"the lowest number at once": {
			"rules": {"a": {"adjust": {_lower}}, "b": {"adjust": {{"max_parallel": 1, "reason": "night"}, {"max_parallel": 9, "reason": "x"}}}},
			"want": {[0, "lower the number of steps at once from 5 to 1", "night (rules.dispatch.b)"]},
		},
		"no more at once than without": {
			"rules": {"a": {"adjust": {{"max_parallel": 5, "reason": "x"}}}},
			"want": set(),
		},
		"a limit that is lower anyway": {
			"rules": {"a": {"adjust": {_lower}, "limit": {2}}},
			"want": set(),
		},
		"the longest time": {
			"rules": {"a": {"adjust": {_extend}}, "b": {"adjust": {object.union(_extend, {"timeout": "12m"})}}},
			"want": {[1, "extend the timeout from 300 s to 720 s", "slow nodes (rules.dispatch.b)"]},
		},
		"three times as long at most": {
			"rules": {"a": {"adjust": {object.union(_extend, {"timeout": "5h"})}}},
			"want": {[1, "extend the timeout from 300 s to 900 s", "slow nodes (rules.dispatch.a)"]},
		},
		"never a shorter time": {
			"rules": {"a": {"adjust": {object.union(_extend, {"timeout": "1m"})}}},
			"want": set(),
		},
		"the value that it has is no change": {
			"rules": {"a": {"adjust": {object.union(_adjust, {"value": 5})}}},
			"want": set(),
		},
		"two rules may agree": {
			"rules": {"a": {"adjust": {_adjust}}, "b": {"adjust": {_adjust}}},
			"want": {
				[1, "adjust replicas from 5 to 4", "quota (rules.dispatch.a)"],
				[1, "adjust replicas from 5 to 4", "quota (rules.dispatch.b)"],
			},
		},
	}
	got := _verdict(_all_on, tc.rules)
	_changed(got) == tc.want
}

test_what_cannot_be_adjusted_is_denied[note] if {
	some note, tc in {
		"two values for one parameter": {
			"in": _all_on,
			"rules": {"a": {"adjust": {_adjust}}, "b": {"adjust": {object.union(_adjust, {"value": 3})}}},
			"want": {"adjust_conflict"},
		},
		"a parameter that the step has not": {
			"in": _all_on,
			"rules": {"a": {"adjust": {object.union(_adjust, {"step": 2})}}},
			"want": {"rule_is_malformed"},
		},
		"a value outside its own bounds": {
			"in": _all_on,
			"rules": {"a": {"adjust": {object.union(_adjust, {"value": 6})}}},
			"want": {"rule_is_malformed"},
		},
		"a value outside its own bounds, whatever the workflow allows": {
			"in": q.dispatch,
			"rules": {"a": {"adjust": {object.union(_adjust, {"value": 6})}}},
			"want": {"rule_is_malformed"},
		},
		"what is no set": {"in": _all_on, "rules": {"a": {"adjust": [_adjust]}}, "want": {"rule_is_not_a_set"}},
	}
	got := _verdict(tc["in"], tc.rules)
	[got.decision, q.codes(got)] == ["deny", tc.want]
}

test_an_adjusted_goal_is_the_one_that_must_be_reached if {
	question := object.union(_all_on, {"facts": {"adaptive/1/deployment": objects.found(objects.scaled(4))}})
	got := _verdict(question, {"a": {"adjust": {_adjust}}})
	_changed(got) == {[1, "skip the step", "unnecessary: web runs 4 replicas already, all available (catalogue.scale_deployment)"]}
}

test_a_team_that_leaves_a_step_out_is_recorded if {
	got := _verdict(_allowing({"dynamicStepAdjustment": true}), {"a": {"skip": {{"step": 2, "code": "not_needed", "message": "no"}}}})
	_changed(got) == {[2, "skip the step", "not_needed: no (rules.dispatch.a)"]}
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
