package kubernaut.gates.failure_test

import data.kubernaut.gates.failure
import data.kubernaut.lib.verdict
import data.kubernaut.testing.questions as q

_spent := q.put(q.failure, "/step/retriesAttempted", 2)

_strategy(question, name) := q.put(question, "/workflow/spec/executionStrategy/rollbackStrategy", name)

_untouched := json.patch(_spent, [
	{"op": "add", "path": "/step/operationsSent", "value": false},
	{"op": "add", "path": "/steps/0/operationsSent", "value": false},
	{"op": "add", "path": "/attempt/operations", "value": []},
])

_refused := json.patch(_untouched, [
	{"op": "add", "path": "/attempt/failureReason", "value": "policy_denied"},
	{"op": "add", "path": "/attempt/errorType", "value": "policy_denied"},
])

# As the gate action denies them.
_unmet(reason) := json.patch(_untouched, [
	{"op": "add", "path": "/attempt/failureReason", "value": reason},
	{"op": "add", "path": "/attempt/errorType", "value": verdict.error_type(reason)},
])

_first(question) := q.put(question, "/step/retriesAttempted", 0)

_cancel := q.put(q.without(q.without(q.failure, "/step"), "/attempt"), "/cancel", {"reason": "enough"})

test_action[note] if {
	some note, tc in {
		"a first failure is tried again": {"in": q.failure, "want": ["retry", "postcondition_failed"]},
		"retries of the workflow count for steps without their own": {
			"in": q.put(q.without(q.failure, "/step/maxRetries"), "/workflow/spec/executionStrategy/maxRetries", 1),
			"want": ["retry", "postcondition_failed"],
		},
		"without any retries the step is taken back": {
			"in": q.without(q.failure, "/step/maxRetries"),
			"want": ["rollback", "postcondition_failed"],
		},
		"spent retries take the workflow back": {"in": _spent, "want": ["rollback", "postcondition_failed"]},
		"a permanent error is not tried again": {
			"in": q.put(q.failure, "/attempt/errorType", "insufficient_permissions"),
			"want": ["rollback", "postcondition_failed"],
		},
		"a step that is not critical lets the rest go on": {
			"in": q.put(_spent, "/step/criticalStep", false),
			"want": ["continue", "postcondition_failed"],
		},
		"a precondition that failed before anything was sent is not tried again, and blocks": {
			"in": _first(_unmet("precondition_failed")),
			"want": ["block", "precondition_failed"],
		},
		"a target that was not there is not looked for again, and blocks": {
			"in": _first(_unmet("resource_not_found")),
			"want": ["block", "resource_not_found"],
		},
		"a refusal before anything was sent blocks": {"in": _refused, "want": ["block", "policy_denied"]},
		"a refusal after something was sent takes back": {
			"in": q.put(_refused, "/step/operationsSent", true),
			"want": ["rollback", "policy_denied"],
		},
		"automatic with nothing to take back fails": {"in": _untouched, "want": ["fail", "postcondition_failed"]},
		"the failed step counts though it is not among the started ones": {
			"in": q.put(_spent, "/steps", []),
			"want": ["rollback", "postcondition_failed"],
		},
		"manual degrades": {"in": _strategy(_spent, "manual"), "want": ["degrade", "postcondition_failed"]},
		"manual degrades though there is nothing to take back": {
			"in": _strategy(_untouched, "manual"),
			"want": ["degrade", "postcondition_failed"],
		},
		"none fails": {"in": _strategy(_spent, "none"), "want": ["fail", "postcondition_failed"]},
		"no strategy is automatic": {
			"in": q.without(_spent, "/workflow/spec/executionStrategy"),
			"want": ["rollback", "postcondition_failed"],
		},
		"a cancel takes back what was done": {"in": _cancel, "want": ["rollback", "cancelled"]},
		"a cancel with manual rollback leaves the undo to people": {"in": _strategy(_cancel, "manual"), "want": ["degrade", "cancelled"]},
		"a cancel with manual rollback and nothing done only ends": {
			"in": q.put(_strategy(_cancel, "manual"), "/steps", []),
			"want": ["fail", "cancelled"],
		},
		"a cancel without rollback only ends": {"in": _strategy(_cancel, "none"), "want": ["fail", "cancelled"]},
		"a cancel with nothing done only ends": {"in": q.put(_cancel, "/steps", []), "want": ["fail", "cancelled"]},
		"the empty question fails": {"in": {}, "want": ["fail", "step_execution_failed"]},
		"a question without the attempt undoes nothing": {
			"in": q.without(_spent, "/attempt"),
			"want": ["fail", "step_execution_failed"],
		},
	}
	got := failure.verdict with input as tc["in"] with data.kubernaut.settings as q.settings
	[got.action, got.failure_reason] == tc.want
}

test_a_question_that_cannot_be_judged_is_denied if {
	got := failure.verdict with input as {}
	got.decision == "deny"
	q.codes(got) == {"input_incomplete"}
}

test_a_team_may_forbid_trying_again_and_going_on[note] if {
	some note, tc in {
		"what would be tried again is taken back": {"in": q.failure, "want": "rollback"},
		"what would be passed over is taken back": {"in": q.put(_spent, "/step/criticalStep", false), "want": "rollback"},
	}
	got := failure.verdict with input as tc["in"]
		with data.kubernaut.settings as q.settings
		with data.kubernaut.rules.failure as {"a": {"deny": {"no_second_try"}}}
	got.decision == "deny"
	got.action == tc.want
}

test_a_denial_keeps_the_attempt_s_kind_of_error[note] if {
	some note, tc in {
		"the attempt's own": {"in": q.put(q.failure, "/attempt/errorType", "timeout"), "want": "timeout"},
		"a word that is none": {"in": q.put(q.failure, "/attempt/errorType", "odd"), "want": "execution_error"},
		"a cancel": {"in": _cancel, "want": "execution_error"},
	}
	got := failure.verdict with input as tc["in"]
		with data.kubernaut.settings as q.settings
		with data.kubernaut.rules.failure as {"a": {"deny": {"no"}}}
	got.error_type == tc.want
}

test_a_team_may_wait if {
	got := failure.verdict with input as q.failure
		with data.kubernaut.settings as q.settings
		with data.kubernaut.rules.failure as {"a": {"wait": {"not_yet"}}}
	[got.decision, got.next_check_seconds] == ["wait", 1]
}

test_the_delay_doubles_up_to_the_longest[note] if {
	some note, tc in {
		"the first one": {"retries": 0, "low": 0.5, "high": 1},
		"the third one": {"retries": 2, "low": 2, "high": 4},
		"one of many": {"retries": 9, "low": 30, "high": 60},
	}
	got := failure.verdict with input as json.patch(q.failure, [
		{"op": "add", "path": "/step/retriesAttempted", "value": tc.retries},
		{"op": "add", "path": "/step/maxRetries", "value": 10},
	])
		with data.kubernaut.settings as q.settings
	got.delay_seconds >= tc.low
	got.delay_seconds <= tc.high
}

test_attempts_of_different_names_do_not_wait_alike if {
	first := failure.verdict with input as q.failure with data.kubernaut.settings as q.settings
	other := failure.verdict with input as q.put(q.failure, "/attempt/name", "v-step-1") with data.kubernaut.settings as q.settings
	first.delay_seconds != other.delay_seconds
}

test_without_settings_the_delay_is_long if {
	got := failure.verdict with input as q.without(q.failure, "/attempt/name") with data.kubernaut.settings as {}
	got.action == "retry"
	got.delay_seconds == 60
}

test_a_rule_on_trial_is_heard if {
	heard := failure.shadow with input as q.failure with data.kubernaut.shadow.failure as {"a": {"wait": {"hm"}}}
	heard == {{"code": "hm", "message": "hm", "policy": "shadow.failure.a", "effect": "wait"}}
}
