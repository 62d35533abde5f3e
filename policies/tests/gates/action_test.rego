package kubernaut.gates.action_test

import data.kubernaut.gates.action
import data.kubernaut.testing.objects
import data.kubernaut.testing.questions as q

_planned := q.without(q.action, "/attempt")

_gone := q.put(q.action, "/facts/deployment", objects.absent)

_gone_for_long := q.put(_gone, "/attempt/since", {
	"deployment_exists": "2026-01-01T00:09:00Z",
	"cluster_capacity_available": "2026-01-01T00:09:00Z",
})

_way_back := {
	"verb": "patch",
	"apiVersion": "apps/v1",
	"kind": "Deployment",
	"namespace": "shop",
	"name": "web",
	"patchType": "json",
	"body": [],
}

_undo(operations) := q.put(object.remove(q.action, ["facts"]), "/undo", operations)

_foreign(question) := q.put(question, "/step/parameters/scaleDeployment/namespace", "bank")

_trusted(question) := q.put(question, "/workflow/metadata/namespace", "kubernaut-system")

_approved(digest) := q.put(q.action, "/workflow/status/actionDigests", {"scale_deployment": digest})

_cordon := json.patch(q.action, [
	{"op": "add", "path": "/step/action", "value": "cordon_node"},
	{"op": "add", "path": "/step/parameters", "value": {"cordonNode": {"nodeName": "n-1"}}},
	{"op": "add", "path": "/facts", "value": {"node": objects.found(objects.node)}},
])

_notify := json.patch(q.action, [
	{"op": "add", "path": "/step/action", "value": "notify_only"},
	{"op": "add", "path": "/step/parameters", "value": {"notifyOnly": {"message": "look"}}},
])

_unmet := {"cluster_capacity_available", "deployment_exists"}

test_decision[note] if {
	some note, tc in {
		"an attempt that may act is allowed": {"in": q.action, "want": ["allow", set()]},
		"a plan that may act is allowed": {"in": _planned, "want": ["allow", set()]},
		"an action that sends nothing is allowed": {"in": _notify, "want": ["allow", set()]},
		"the empty question is denied": {"in": {}, "want": ["deny", {"action_unknown", "parameters_invalid"}]},
		"an unknown action is denied": {
			"in": q.put(q.action, "/step/action", "scale_it"),
			"want": ["deny", {"action_unknown", "parameters_invalid"}],
		},
		"parameters out of bounds are denied": {
			"in": q.put(q.action, "/step/parameters/scaleDeployment/replicas", 10001),
			"want": ["deny", {"parameters_invalid", "cluster_capacity_available"}],
		},
		"parameters without a target are denied": {
			"in": q.put(q.action, "/step/parameters/scaleDeployment/deployment", 7),
			"want": ["deny", {"parameters_invalid", "target_not_determined"}],
		},
		"a target in another namespace is denied": {
			"in": _foreign(q.action),
			"want": ["deny", {"target_outside_namespace"}],
		},
		"a workflow of the system's namespace may act elsewhere": {"in": _trusted(_foreign(q.action)), "want": ["allow", set()]},
		"a node is denied to most workflows": {"in": _cordon, "want": ["deny", {"target_cluster_scoped"}]},
		"a workflow of the system's namespace may act on nodes": {"in": _trusted(_cordon), "want": ["allow", set()]},
		"an attempt that no workflow lists is denied": {
			"in": q.put(q.action, "/attempt/owned", false),
			"want": ["deny", {"attempt_not_listed"}],
		},
		"an attempt that is none is denied": {
			"in": q.put(q.action, "/attempt", null),
			"want": ["deny", {"attempt_not_listed"}],
		},
		"the module that was approved is allowed": {"in": _approved("d-1"), "want": ["allow", set()]},
		"another module than was approved is denied": {"in": _approved("d-0"), "want": ["deny", {"plan_changed"}]},
		"a fact that is not known is waited for": {
			"in": q.put(q.action, "/facts/deployment", objects.unknown("forbidden")),
			"want": ["wait", {"fact_missing"}],
		},
		"a precondition that may still come to hold is waited for": {"in": _gone, "want": ["wait", _unmet]},
		"a precondition that has run out of time is denied": {"in": _gone_for_long, "want": ["deny", _unmet]},
		"a plan does not wait for preconditions": {"in": q.without(_gone, "/attempt"), "want": ["deny", _unmet]},
		"a recorded undo is allowed": {"in": _undo([{"do": _way_back, "undo": null}]), "want": ["allow", set()]},
		"an undo in another namespace is denied": {
			"in": _undo([{"do": object.union(_way_back, {"namespace": "bank"}), "undo": null}]),
			"want": ["deny", {"target_outside_namespace"}],
		},
		"an undo of a node is denied to most workflows": {
			"in": _undo([{"do": object.remove(_way_back, ["namespace"]), "undo": null}]),
			"want": ["deny", {"target_cluster_scoped"}],
		},
		"an undo that is no list is denied": {"in": _undo("everything"), "want": ["deny", {"operations_undefined"}]},
		"an undo of nothing is denied": {"in": _undo([]), "want": ["deny", {"operations_undefined"}]},
		"an undo of another form is denied": {
			"in": _undo([{"do": object.union(_way_back, {"token": "x"}), "undo": null}]),
			"want": ["deny", {"operations_malformed"}],
		},
		"an undo of an attempt that no workflow lists is denied": {
			"in": q.put(_undo([{"do": _way_back, "undo": null}]), "/attempt/owned", false),
			"want": ["deny", {"attempt_not_listed"}],
		},
		"a changed module does not keep a recorded undo back": {
			"in": q.put(_undo([{"do": _way_back, "undo": null}]), "/workflow/status/actionDigests", {"scale_deployment": "d-0"}),
			"want": ["allow", set()],
		},
	}
	got := action.verdict with input as tc["in"]
		with data.kubernaut.settings as q.settings
		with data.kubernaut.modules.actions as {"scale_deployment": "d-1"}
	[got.decision, q.codes(got)] == tc.want
}

test_a_workflow_of_a_namespace_that_the_setting_trusts_may_act_elsewhere if {
	got := action.verdict with input as _foreign(q.action)
		with data.kubernaut.settings as object.union(q.settings, {"trusted-namespaces": ["shop"]})
	got.decision == "allow"
}

test_operations_are_told_only_where_they_may_be_sent[note] if {
	some note, tc in {
		"allowed": {"in": q.action, "want": 1},
		"waiting": {"in": _gone, "want": 0},
		"denied": {"in": q.put(q.action, "/attempt/owned", false), "want": 0},
	}
	got := action.verdict with input as tc["in"] with data.kubernaut.settings as q.settings
	count(got.operations) == tc.want
}

test_a_recorded_undo_is_returned_unchanged if {
	recorded := [{"do": _way_back, "undo": null}]
	got := action.verdict with input as _undo(recorded) with data.kubernaut.settings as q.settings
	got.operations == recorded
	[got.conditions, got.facts] == [[], []]
}

test_what_the_catalogue_says_of_the_action_is_told if {
	got := action.verdict with input as q.action with data.kubernaut.settings as q.settings
	[got.service_account, got.executor, got.timeout_seconds, got.reversible] == ["scale-deployment-sa", "api", 300, true]
	got.state.target_replicas == 5
}

_entry := {
	"permissions": [],
	"service_account": "own-sa",
	"executor": "job",
	"timeout_seconds": 5,
	"reversible": false,
	"irreversible_reason": "it is gone",
	"parameters_valid": true,
	"target": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "x"},
	"preconditions": {},
	"operations": [{"do": _way_back, "undo": null}],
}

_tried(entry) := got if {
	# regal ignore:with-outside-test-context
	got := action.verdict with input as q.action
		with data.kubernaut.settings as q.settings
		with data.kubernaut.actions as {"scale_deployment": entry}
}

test_a_team_s_own_action_is_as_good if {
	got := _tried(_entry)
	got.decision == "allow"
	[got.executor, got.reversible, got.irreversible_reason] == ["job", false, "it is gone"]
}

test_an_action_s_faults_are_denied[note] if {
	some note, tc in {
		"no preconditions declared": {"entry": object.remove(_entry, ["preconditions"]), "want": {"preconditions_undefined"}},
		"no operations": {"entry": object.remove(_entry, ["operations"]), "want": {"operations_undefined"}},
		"an empty list of operations": {"entry": object.union(_entry, {"operations": []}), "want": {"operations_undefined"}},
		"an operation without its undo": {
			"entry": object.union(_entry, {"operations": [{"do": _way_back}]}),
			"want": {"operations_malformed"},
		},
		"an operation elsewhere than the target": {
			"entry": object.union(_entry, {"operations": [{"do": object.union(_way_back, {"namespace": "bank"}), "undo": null}]}),
			"want": {"target_outside_namespace"},
		},
		"a way back elsewhere": {
			"entry": object.union(_entry, {"operations": [{"do": _way_back, "undo": object.union(_way_back, {"namespace": "bank"})}]}),
			"want": {"target_outside_namespace"},
		},
		"no target": {"entry": object.remove(_entry, ["target"]), "want": {"target_not_determined"}},
		"a precondition without words": {
			"entry": object.union(_entry, {"preconditions": {"ready": {"required": true}}}),
			"want": {"ready"},
		},
		"a precondition that is text": {
			"entry": object.union(_entry, {"preconditions": {"ready": "it must be ready"}, "holds": {"ready"}}),
			"want": {"ready"},
		},
	}
	got := _tried(tc.entry)
	q.codes(got) == tc.want
}

test_the_reason_of_the_failure[note] if {
	some note, tc in {
		"an object that is not there": {"in": _gone_for_long, "rules": {}, "want": ["resource_not_found", "validation_error"]},
		"a precondition": {
			"in": q.put(_planned, "/facts/nodes", objects.listed([])),
			"rules": {},
			"want": ["precondition_failed", "validation_error"],
		},
		"a team, whatever else is wrong": {"in": _gone_for_long, "rules": {"a": {"deny": {"no"}}}, "want": ["policy_denied", "policy_denied"]},
		"a parameter": {
			"in": q.put(q.action, "/step/parameters/scaleDeployment/replicas", -1),
			"rules": {},
			"want": ["policy_denied", "policy_denied"],
		},
	}
	got := action.verdict with input as tc["in"]
		with data.kubernaut.settings as q.settings
		with data.kubernaut.rules.action as tc.rules
	[got.failure_reason, got.error_type] == tc.want
}

test_what_is_not_required_only_warns if {
	got := action.verdict with input as q.put(q.action, "/step/parameters/scaleDeployment/expectedReplicas", 9)
		with data.kubernaut.settings as q.settings
	got.decision == "allow"
	q.warnings(got) == {"replicas_match"}
}

test_what_is_made_required_denies if {
	strict := json.patch(_planned, [
		{"op": "add", "path": "/step/parameters/scaleDeployment/expectedReplicas", "value": 9},
		{"op": "add", "path": "/step/preConditions", "value": [{"type": "replicas_match", "required": true}]},
	])
	got := action.verdict with input as strict with data.kubernaut.settings as q.settings
	q.codes(got) == {"replicas_match"}
}

test_a_team_s_wait_is_heard if {
	got := action.verdict with input as q.action
		with data.kubernaut.settings as q.settings
		with data.kubernaut.rules.action as {"a": {"wait": {"not_yet"}}}
	[got.decision, got.next_check_seconds] == ["wait", 2]
}

test_it_looks_again_soon_for_what_it_lacks if {
	got := action.verdict with input as _gone with data.kubernaut.settings as q.settings
	got.next_check_seconds == 0.5
}

test_whether_parameters_and_resource_are_right_is_told[note] if {
	some note, tc in {
		"all is well": {"in": q.action, "want": [true, true]},
		"parameters out of bounds": {"in": q.put(q.action, "/step/parameters/scaleDeployment/replicas", 10001), "want": [false, true]},
		"the object is gone": {"in": _gone, "want": [true, false]},
		"the object is not known": {"in": q.put(q.action, "/facts/deployment", objects.unknown("timeout")), "want": [true, null]},
		"an action that needs no object": {"in": _notify, "want": [true, null]},
		"an object out of reach": {"in": _foreign(q.action), "want": [true, null]},
		"an undo": {"in": _undo([{"do": _way_back, "undo": null}]), "want": [true, null]},
		"an unknown action": {"in": q.put(q.action, "/step/action", "scale_it"), "want": [false, null]},
	}
	got := action.verdict with input as tc["in"] with data.kubernaut.settings as q.settings
	[got.parameters_valid, got.resource_exists] == tc.want
}

test_a_rule_on_trial_is_heard if {
	heard := action.shadow with input as q.action with data.kubernaut.shadow.action as {"a": {"deny": {"hm"}}}
	heard == {{"code": "hm", "message": "hm", "policy": "shadow.action.a", "effect": "deny"}}
}

test_nothing_is_read_where_the_workflow_may_not_act[note] if {
	some note, question in {"another namespace": _foreign(q.action), "the cluster": _cordon}
	got := action.verdict with input as question with data.kubernaut.settings as q.settings
	[got.facts, got.conditions, got.operations] == [[], [], []]
}
