package kubernaut.gates.planning_test

import data.kubernaut.gates.planning
import data.kubernaut.testing.questions as q

_references := {"shop-conditions:queue.rego": "queue"}

_digests := {"scale_deployment": "d-1", "restart_deployment": "d-2", "restore_previous_deployment": "d-3", "cordon_node": "d-4"}

_condition(entry) := q.put(q.planning, "/steps/0/preConditions", [entry])

_override(overrides) := q.put(q.planning, "/workflow/spec/conditionOverrides", overrides)

test_decision[note] if {
	some note, tc in {
		"a sound graph of known actions is allowed": {"in": q.planning, "want": ["allow", set()]},
		"the empty question is denied": {"in": {}, "want": ["deny", {"input_incomplete"}]},
		"a workflow without steps is denied": {"in": q.put(q.planning, "/steps", []), "want": ["deny", {"input_incomplete"}]},
		"two steps of one number are denied": {
			"in": q.put(q.planning, "/steps/1/stepNumber", 1),
			"want": ["deny", {"input_incomplete"}],
		},
		"an unknown action is denied": {
			"in": q.put(q.planning, "/steps/0/action", "scale_deploiment"),
			"want": ["deny", {"action_unknown"}],
		},
		"an unknown action of a rollbackSpec is denied": {
			"in": q.put(q.planning, "/steps/1/rollbackSpec/action", "undo_it"),
			"want": ["deny", {"rollback_action_unknown"}],
		},
		"a rollbackSpec without an action is denied": {
			"in": q.without(q.planning, "/steps/1/rollbackSpec/action"),
			"want": ["deny", {"rollback_action_unknown"}],
		},
		"parameters of another action are denied": {
			"in": q.put(q.planning, "/steps/0/parameters", {"restartDeployment": {"deployment": "web"}}),
			"want": ["deny", {"parameters_mismatch"}],
		},
		"a second member beside the right one is denied": {
			"in": q.put(q.planning, "/steps/0/parameters/custom", {"actionType": "x"}),
			"want": ["deny", {"parameters_mismatch"}],
		},
		"missing parameters are denied": {
			"in": q.without(q.planning, "/steps/0/parameters"),
			"want": ["deny", {"parameters_mismatch"}],
		},
		"parameters of another action in a rollbackSpec are denied": {
			"in": q.put(q.planning, "/steps/1/rollbackSpec/parameters", {"custom": {}}),
			"want": ["deny", {"parameters_mismatch"}],
		},
		"the own cluster may be named": {
			"in": q.put(q.planning, "/steps/0/targetCluster", "primary-cluster"),
			"want": ["allow", set()],
		},
		"an empty cluster is the own one": {"in": q.put(q.planning, "/steps/0/targetCluster", ""), "want": ["allow", set()]},
		"another cluster is denied": {
			"in": q.put(q.planning, "/steps/0/targetCluster", "elsewhere"),
			"want": ["deny", {"target_cluster_unknown"}],
		},
		"a condition of the catalogue may be made required": {
			"in": _condition({"type": "replicas_match", "required": true, "timeout": "1s"}),
			"want": ["allow", set()],
		},
		"a condition of the catalogue may not be made less than required": {
			"in": _condition({"type": "deployment_exists", "required": false}),
			"want": ["deny", {"override_not_allowed"}],
		},
		"a condition of the catalogue may not be given more time": {
			"in": _condition({"type": "deployment_exists", "required": true, "timeout": "1h"}),
			"want": ["deny", {"override_not_allowed"}],
		},
		"a condition that the catalogue does not have is denied": {
			"in": _condition({"type": "deployment_exist"}),
			"want": ["deny", {"condition_unknown"}],
		},
		"an override that tightens is allowed": {
			"in": _override({"scale_deployment": {"postconditions": {"desired_replicas_running": {"timeout": "30s"}}}}),
			"want": ["allow", set()],
		},
		"an override that loosens is denied": {
			"in": _override({"scale_deployment": {"postconditions": {"desired_replicas_running": {"timeout": "30m"}}}}),
			"want": ["deny", {"override_not_allowed"}],
		},
		"an override of no such side is denied": {
			"in": _override({"scale_deployment": {"beforehand": {"deployment_exists": {"timeout": "1s"}}}}),
			"want": ["deny", {"condition_unknown"}],
		},
		"an override of an unknown action is denied": {
			"in": _override({"scale_deploiment": {}}),
			"want": ["deny", {"action_unknown"}],
		},
		"a reference to a condition package is allowed": {
			"in": _condition({"type": "queue_empty", "rego": "shop-conditions:queue.rego:holds"}),
			"want": ["allow", set()],
		},
		"a reference to nothing is denied": {
			"in": _condition({"type": "queue_empty", "rego": "shop-conditions:other.rego:holds"}),
			"want": ["deny", {"reference_unknown"}],
		},
		"a malformed reference is denied": {
			"in": _condition({"type": "queue_empty", "rego": "queue"}),
			"want": ["deny", {"reference_unknown"}],
		},
	}
	got := planning.verdict with input as tc["in"]
		with data.kubernaut.settings as q.settings
		with data.kubernaut.references as _references
		with data.kubernaut.modules.actions as _digests
	[got.decision, q.codes(got)] == tc.want
}

test_loosening_is_allowed_where_the_setting_says_so if {
	got := planning.verdict with input as _condition({"type": "deployment_exists", "required": false, "timeout": "1h"})
		with data.kubernaut.settings as object.union(q.settings, {"allow-condition-loosening": true})
	got.decision == "allow"
}

test_without_the_setting_no_cluster_may_be_named if {
	got := planning.verdict with input as q.put(q.planning, "/steps/0/targetCluster", "primary-cluster")
		with data.kubernaut.settings as {}
	q.codes(got) == {"target_cluster_unknown"}
}

test_an_unknown_action_is_told_with_the_known_ones if {
	got := planning.verdict with input as q.put(q.planning, "/steps/0/action", "scale_deploiment")
		with data.kubernaut.settings as q.settings
	[got.failure_reason, got.error_type] == ["planning_error", "validation_error"]
	contains(got.reasons[0].message, "step 1")
	contains(got.reasons[0].remedy, "scale_deployment")
}

test_parameters_of_another_action_are_told_with_the_right_member if {
	got := planning.verdict with input as q.without(q.planning, "/steps/0/parameters")
		with data.kubernaut.settings as q.settings
	contains(got.reasons[0].remedy, "parameters.scaleDeployment")
}

test_an_action_without_a_member_of_its_own_is_custom if {
	custom := {"tidy_up": {"permissions": [], "estimated_seconds": "?"}}
	got := planning.verdict with input as q.put(q.planning, "/steps", [{
		"stepNumber": 1,
		"action": "tidy_up",
		"parameters": {"custom": {"actionType": "tidy_up"}},
	}])
		with data.kubernaut.settings as q.settings
		with data.kubernaut.actions as custom
	got.decision == "allow"
	got.estimated_duration_seconds == 0
}

test_the_digests_are_those_of_the_actions_used_for_rollback_too if {
	got := planning.verdict with input as q.planning
		with data.kubernaut.settings as q.settings
		with data.kubernaut.modules.actions as _digests
	got.action_digests == object.remove(_digests, ["cordon_node"])
}

_notify(number, depends) := {
	"stepNumber": number,
	"action": "wait",
	"parameters": {"custom": {}},
	"dependsOn": depends,
}

_wait := {"wait": {"permissions": [], "estimated_seconds": 10}}

test_the_duration_is_that_of_the_longest_way[note] if {
	some note, tc in {
		"steps side by side take as long as one": {"steps": [_notify(1, []), _notify(2, []), _notify(3, [])], "want": 10},
		"a diamond takes as long as three": {
			"steps": [_notify(1, []), _notify(2, [1]), _notify(3, [1]), _notify(4, [2, 3])],
			"want": 30,
		},
		"a chain takes as long as all of it": {
			"steps": [_notify(n, [before | before := n - 1; before > 0]) | some n in numbers.range(1, 16)],
			"want": 160,
		},
		"a chain too long to follow is the sum of it": {
			"steps": [_notify(n, [before | before := n - 1; before > 0]) | some n in numbers.range(1, 60)],
			"want": 600,
		},
	}
	got := planning.verdict with input as q.put(q.planning, "/steps", tc.steps)
		with data.kubernaut.settings as q.settings
		with data.kubernaut.actions as _wait
	got.decision == "allow"
	got.estimated_duration_seconds == tc.want
}

test_a_team_may_refuse_a_plan if {
	got := planning.verdict with input as q.planning
		with data.kubernaut.settings as q.settings
		with data.kubernaut.rules.planning as {"mine": {"deny": {"too_bold"}, "warn": {"mind_the_gap"}}}
	[got.failure_reason, got.error_type] == ["policy_denied", "policy_denied"]
	got.reasons == [{"code": "too_bold", "message": "too_bold", "policy": "rules.planning.mine"}]
	q.warnings(got) == {"mind_the_gap"}
}

test_a_team_s_wait_is_heard if {
	got := planning.verdict with input as q.planning
		with data.kubernaut.settings as q.settings
		with data.kubernaut.rules.planning as {"a": {"wait": {"not_yet"}}}
	[got.decision, got.next_check_seconds] == ["wait", 2]
}

test_a_rule_on_trial_is_heard_and_has_no_effect if {
	trial := {"mine": {"deny": {"too_bold"}}}
	got := planning.verdict with input as q.planning
		with data.kubernaut.settings as q.settings
		with data.kubernaut.shadow.planning as trial
	got.decision == "allow"
	heard := planning.shadow with input as q.planning with data.kubernaut.shadow.planning as trial
	heard == {{"code": "too_bold", "message": "too_bold", "policy": "shadow.planning.mine", "effect": "deny"}}
}

test_where_no_condition_package_is_there_that_is_said if {
	got := planning.verdict with input as _condition({"type": "queue_empty", "rego": "shop:queue.rego:holds"})
		with data.kubernaut.settings as q.settings
		with data.kubernaut.references as {}
		with data.kubernaut.modules.actions as _digests
	some reason in got.reasons
	endswith(reason.remedy, "there are: none")
}
