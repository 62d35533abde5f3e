package kubernaut.gates.safety_test

import data.kubernaut.gates.safety
import data.kubernaut.testing.objects
import data.kubernaut.testing.questions as q

_ours(changes) := json.patch(q.safety, [{"op": "add", "path": path, "value": value} | some path, value in changes])

_said(number, decision, reasons, errors) := {
	sprintf("/dry_run/steps/%d/decision", [number - 1]): decision,
	sprintf("/dry_run/steps/%d/reasons", [number - 1]): reasons,
	sprintf("/dry_run/steps/%d/errors", [number - 1]): errors,
}

_by(policy, code) := {"code": code, "message": "no", "policy": policy}

_for_long := {"/since": {"rbac": "2026-01-01T00:09:57Z"}}

_refused := {"/facts/access~1scale-deployment-sa~1patch~1deployments.apps~1shop/allowed": false}

_forbidden := {"status": 403, "reason": "Forbidden", "message": "deployments.apps \"web\" is forbidden"}

_invalid := {"status": 422, "reason": "Invalid", "message": "spec.replicas: Invalid value"}

_unavailable := {"/facts/target~1Deployment~1shop~1web/object/status/conditions": [{"type": "Available", "status": "False"}]}

_checks(checks) := {"/workflow/spec/executionStrategy/safetyChecks": checks}

_told(got) := [got.decision, q.codes(got), object.get(got, "failure_reason", "")]

test_decision[note] if {
	some note, tc in {
		"a safe workflow is allowed": {"change": {}, "want": ["allow", set(), ""]},
		"a workflow whose author left the dry-run out is allowed": {
			"change": {"/dry_run": {"performed": false, "steps": []}},
			"want": ["allow", set(), ""],
		},
		"a cluster without a usable node is denied": {
			"change": {"/facts/nodes/items/0/spec/unschedulable": true},
			"want": ["deny", {"check_failed_capacity"}, "safety_validation_failed"],
		},
		"a cluster without a usable node may be called good enough": {
			"change": object.union(
				{"/facts/nodes/items": []},
				_checks([{"type": "resource-availability", "required": false}]),
			),
			"want": ["allow", set(), ""],
		},
		"capacity may be left out": {
			"change": object.union({"/facts/nodes/items": []}, _checks([{"type": "capacity", "enabled": false}])),
			"want": ["allow", set(), ""],
		},
		"a target in poor health is no reason to stay away": {"change": _unavailable, "want": ["allow", set(), ""]},
		"a target in poor health is one where the author says so": {
			"change": object.union(_unavailable, _checks([{"type": "health"}])),
			"want": ["deny", {"check_failed_health"}, "safety_validation_failed"],
		},
		"a namespace that is being deleted is denied": {
			"change": {"/facts/namespace~1shop/object/status/phase": "Terminating"},
			"want": ["deny", {"check_failed_network"}, "safety_validation_failed"],
		},
		"a namespace that is not there is denied": {
			"change": {"/facts/namespace~1shop": objects.absent},
			"want": ["deny", {"namespace_not_found"}, "resource_not_found"],
		},
		"a target that is not there is denied": {
			"change": {"/facts/target~1Deployment~1shop~1web": objects.absent},
			"want": ["deny", {"target_not_found"}, "resource_not_found"],
		},
	}
	got := safety.verdict with input as _ours(tc.change)
	_told(got) == tc.want
}

test_rights[note] if {
	some note, tc in {
		"a right that is missing is denied": {
			"change": object.union(_refused, _for_long),
			"want": ["deny", {"check_failed_rbac"}, "rbac_validation_failed"],
		},
		"a right that has not been missing for long is waited for": {
			"change": object.union(_refused, {"/since": {"rbac": "2026-01-01T00:09:57.001Z"}}),
			"want": ["wait", {"check_failed_rbac"}, ""],
		},
		"a right that is missed for the first time is waited for": {
			"change": object.union(_refused, {"/since": {}}),
			"want": ["wait", {"check_failed_rbac"}, ""],
		},
		"a right of which nobody says since when it is missing is waited for": {
			"change": _refused,
			"want": ["wait", {"check_failed_rbac"}, ""],
		},
		"a right that is missing since nobody can tell when is waited for": {
			"change": object.union(_refused, {"/since": {"rbac": "yesterday"}}),
			"want": ["wait", {"check_failed_rbac"}, ""],
		},
		"a right that is missing holds no other denial back": {
			"change": object.union(_refused, _said(1, "allow", [], [_invalid])),
			"want": ["deny", {"check_failed_rbac", "dry_run_failed"}, "dry_run_failed"],
		},
		"a right that is not known is waited for": {
			"change": {"/facts/access~1scale-deployment-sa~1patch~1deployments.apps~1shop": objects.unknown("timeout")},
			"want": ["wait", {"fact_missing"}, ""],
		},
		"a right cannot be called not needed by leaving the check out": {
			"change": object.union_n([_refused, _for_long, _checks([{"type": "rbac-check", "enabled": false}])]),
			"want": ["deny", {"check_failed_rbac"}, "rbac_validation_failed"],
		},
		"a right may be called not required": {
			"change": object.union_n([_refused, _for_long, _checks([{"type": "rbac", "required": false}])]),
			"want": ["allow", set(), ""],
		},
		"a right that the server missed counts whatever is called not required": {
			"change": object.union_n([_said(1, "allow", [], [_forbidden]), _for_long, _checks([{"type": "rbac", "required": false}])]),
			"want": ["deny", {"rbac_forbidden"}, "rbac_validation_failed"],
		},
		"a missing right that the server names is denied": {
			"change": object.union(_said(1, "wait", [_by("action", "fact_missing")], [_forbidden]), _for_long),
			"want": ["deny", {"rbac_forbidden", "dry_run_undecided"}, "rbac_validation_failed"],
		},
		"a missing right that the server names for the first time is waited for": {
			"change": _said(1, "wait", [_by("action", "fact_missing")], [_forbidden]),
			"want": ["wait", {"rbac_forbidden", "dry_run_undecided"}, ""],
		},
		"a missing right of a later step is denied as well": {
			"change": object.union(_said(2, "allow", [], [_forbidden]), _for_long),
			"want": ["deny", {"rbac_forbidden"}, "rbac_validation_failed"],
		},
	}
	got := safety.verdict with input as _ours(tc.change)
	_told(got) == tc.want
}

test_what_the_dry_run_said[note] if {
	some note, tc in {
		"the room that the dry-run missed is denied": {
			"change": _said(1, "deny", [_by("catalogue.scale_deployment", "cluster_capacity_available")], []),
			"want": ["deny", {"check_failed_capacity"}, "safety_validation_failed"],
		},
		"a target that the dry-run did not find is denied": {
			"change": _said(1, "deny", [_by("catalogue.scale_deployment", "deployment_exists")], []),
			"want": ["deny", {"deployment_exists"}, "resource_not_found"],
		},
		"another condition of the catalogue is denied": {
			"change": _said(1, "deny", [_by("catalogue.scale_deployment", "replicas_match")], []),
			"want": ["deny", {"replicas_match"}, "dry_run_failed"],
		},
		"what the server refuses is denied": {
			"change": _said(1, "allow", [], [_invalid]),
			"want": ["deny", {"dry_run_failed"}, "dry_run_failed"],
		},
		"what a rule refuses is denied in its own words": {
			"change": _said(1, "deny", [_by("rules.action.production_floor", "scale_to_zero_in_production")], []),
			"want": ["deny", {"scale_to_zero_in_production"}, "policy_denied"],
		},
		"what a rule refuses of a later step is denied as well": {
			"change": _said(2, "deny", [_by("action", "target_outside_namespace")], []),
			"want": ["deny", {"target_outside_namespace"}, "policy_denied"],
		},
		"what a later step lacks now is not denied": {
			"change": object.union(
				_said(2, "deny", [_by("catalogue.restart_deployment", "deployment_exists")], []),
				_said(1, "allow", [], []),
			),
			"want": ["allow", set(), ""],
		},
		"what the server refuses of a later step is not denied": {
			"change": _said(2, "allow", [], [_invalid]),
			"want": ["allow", set(), ""],
		},
		"what could not be read is waited for": {
			"change": _said(1, "wait", [_by("action", "fact_missing")], []),
			"want": ["wait", {"dry_run_undecided"}, ""],
		},
		"what a rule holds back for now is allowed": {
			"change": _said(1, "wait", [_by("rules.action.window", "not_yet")], []),
			"want": ["allow", set(), ""],
		},
		"a step that was not rehearsed is denied": {
			"change": {"/dry_run/steps": [q.safety.dry_run.steps[0]]},
			"want": ["deny", {"dry_run_incomplete"}, "safety_validation_failed"],
		},
		"a rehearsal that cannot be read is denied": {
			"change": _said(1, "perhaps", [], []),
			"want": ["deny", {"dry_run_incomplete", "dry_run_unreadable"}, "safety_validation_failed"],
		},
	}
	got := safety.verdict with input as _ours(tc.change)
	_told(got) == tc.want
}

test_the_empty_question_is_denied if {
	got := safety.verdict with input as {}
	[got.decision, q.codes(got)] == ["deny", {"input_incomplete", "check_failed_capacity"}]
}

test_warnings[note] if {
	some note, tc in {
		"poor health": {"change": _unavailable, "want": {"check_failed_health"}},
		"a replica failure": {
			"change": {"/facts/target~1Deployment~1shop~1web/object/status/conditions": [{"type": "ReplicaFailure", "status": "True"}]},
			"want": {"check_failed_health"},
		},
		"a later step": {
			"change": _said(2, "deny", [_by("catalogue.restart_deployment", "deployment_exists")], []),
			"want": {"dry_run_failed_later_step"},
		},
		"a step that is held": {
			"change": _said(1, "wait", [_by("rules.action.window", "not_yet")], []),
			"want": {"step_held"},
		},
	}
	got := safety.verdict with input as _ours(tc.change)
	q.warnings(got) == tc.want
}

test_a_missing_right_is_told_with_the_server_s_own_words if {
	got := safety.verdict with input as _ours(object.union(_refused, _said(1, "allow", [], [_forbidden])))
	some reason in got.reasons
	reason.code == "check_failed_rbac"
	contains(reason.message, "scale-deployment-sa may not patch deployments in namespace shop")
	contains(reason.message, "deployments.apps \"web\" is forbidden")
}

test_the_check_of_rights_is_told_as_failed_while_it_is_waited_for[note] if {
	some note, change in {"an access review": _refused, "the dry-run": _said(2, "allow", [], [_forbidden])}
	got := safety.verdict with input as _ours(change)
	[got.decision, got.next_check_seconds] == ["wait", 0.5]
	[check.passed | some check in got.checks; check.type == "rbac"] == [false]
}

test_it_looks_again_for_what_could_not_be_read if {
	got := safety.verdict with input as _ours(_said(1, "wait", [_by("action", "fact_missing")], []))
	[got.decision, got.next_check_seconds] == ["wait", 2]
}

test_the_kind_of_error_follows_from_the_reason[note] if {
	some note, tc in {
		"a right": {"change": object.union(_refused, _for_long), "want": "insufficient_permissions"},
		"a target": {"change": {"/facts/target~1Deployment~1shop~1web": objects.absent}, "want": "validation_error"},
		"a rule": {"change": _said(1, "deny", [_by("rules.action.a", "no")], []), "want": "policy_denied"},
	}
	got := safety.verdict with input as _ours(tc.change)
	got.error_type == tc.want
}

test_the_four_checks_are_told_whatever_is_left_out if {
	got := safety.verdict with input as _ours(_checks([{"type": "capacity", "enabled": false}, {"type": "health", "required": true}]))
	[[check.type, check.required, check.passed] | some check in got.checks] == [
		["rbac", true, true],
		["capacity", false, true],
		["health", true, true],
		["network", true, true],
	]
}

test_a_target_of_a_later_step_need_not_be_there if {
	later := q.put(q.safety, "/steps/0/dependsOn", [9])
	got := safety.verdict with input as q.put(later, "/facts/target~1Deployment~1shop~1web", objects.absent)
	got.decision == "allow"
}

test_rights_on_the_cluster_and_on_subresources_are_asked_for if {
	actions := {
		"scale_deployment": {
			"service_account": "own-sa",
			"target": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "x"},
			"permissions": [{"apiGroups": [""], "resources": ["pods/eviction", "nodes"], "verbs": ["create"]}],
		},
		"restart_deployment": {},
	}
	got := safety.verdict with input as q.safety with data.kubernaut.actions as actions
	{request | some request in got.facts; request.verb == "access"} == {
		{
			"id": "access/own-sa/create/pods/eviction./shop", "verb": "access", "serviceAccount": "own-sa", "accessVerb": "create",
			"group": "", "resource": "pods", "subresource": "eviction", "namespace": "shop",
		},
		{
			"id": "access/own-sa/create/nodes./*", "verb": "access", "serviceAccount": "own-sa", "accessVerb": "create",
			"group": "", "resource": "nodes",
		},
	}
	refused := safety.verdict with input as q.put(q.safety, "/facts/access~1own-sa~1create~1nodes.~1*", {"available": true, "allowed": false})
		with data.kubernaut.actions as actions
	some check in refused.checks
	check.message == "own-sa may not create nodes"
}

test_a_team_may_deny if {
	got := safety.verdict with input as q.safety with data.kubernaut.rules.safety as {"a": {"deny": {"frozen"}}}
	got.failure_reason == "policy_denied"
}

test_a_rule_on_trial_is_heard if {
	heard := safety.shadow with input as q.safety with data.kubernaut.shadow.safety as {"a": {"deny": {"hm"}}}
	heard == {{"code": "hm", "message": "hm", "policy": "shadow.safety.a", "effect": "deny"}}
}

test_nothing_is_read_where_the_workflow_may_not_act if {
	got := safety.verdict with input as q.put(q.safety, "/steps", [{
		"stepNumber": 1,
		"action": "scale_deployment",
		"parameters": {"scaleDeployment": {"namespace": "bank", "deployment": "web", "replicas": 5}},
	}])
	{request.id | some request in got.facts} == {"nodes"}
}
