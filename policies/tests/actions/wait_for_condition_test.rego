package kubernaut.actions.wait_for_condition_test

import data.kubernaut.actions.wait_for_condition as action
import data.kubernaut.testing.objects

parameters := {"waitForCondition": {"apiVersion": "batch/v1", "kind": "Job", "name": "migrate", "condition": "Complete"}}

job(generation, conditions) := {
	"apiVersion": "batch/v1",
	"kind": "Job",
	"metadata": {"name": "migrate", "namespace": "shop", "uid": "j", "generation": generation},
	"status": {"conditions": conditions},
}

test_the_condition_is_reached_when_it_is_reported_for_the_latest_generation[note] if {
	complete := {"type": "Complete", "status": "True"}
	some note, tc in {
		"reported as wanted": {"fact": objects.found(job(1, [complete])), "want": {"condition_reached"}},
		"reported otherwise": {"fact": objects.found(job(1, [object.union(complete, {"status": "False"})])), "want": set()},
		"not reported": {"fact": objects.found(job(1, [])), "want": set()},
		"reported for an earlier generation": {
			"fact": objects.found(job(2, [object.union(complete, {"observedGeneration": 1})])),
			"want": set(),
		},
		"reported before the controller saw the latest": {
			"fact": objects.found(object.union(job(2, [complete]), {"status": {"observedGeneration": 1}})),
			"want": set(),
		},
		"the object does not exist yet": {"fact": objects.absent, "want": set()},
		"the object is unknown": {"fact": objects.unknown("timeout"), "want": set()},
	}
	got := action.holds with input as objects.sent("wait_for_condition", parameters, [], {"object": tc.fact})
	got == tc.want
}

test_the_patience_is_the_parameters_or_the_steps_or_five_minutes[note] if {
	some note, tc in {
		"the parameter's": {"parameter": {"timeout": "90s"}, "step": {"timeout": "10m"}, "want": ["90s", 120]},
		"the step's": {"parameter": {}, "step": {"timeout": "10m"}, "want": ["10m", 630]},
		"neither": {"parameter": {}, "step": {}, "want": ["5m", 330]},
	}
	question := object.union_n([
		objects.question("action", "wait_for_condition", parameters, {}),
		{"step": tc.step},
		{"step": {"parameters": {"waitForCondition": tc.parameter}}},
	])
	timeout := action.timeout_seconds with input as question
	declared := action.postconditions with input as question
	[declared.condition_reached.timeout, timeout] == tc.want
}

test_without_a_question_there_is_still_a_timeout if {
	action.timeout_seconds == 330 with input as {}
}

test_parameters[note] if {
	some note, tc in {
		"complete": {"p": {}, "want": true},
		"a node has no namespace": {"p": {"apiVersion": "v1", "kind": "Node", "condition": "Ready"}, "want": true},
		"a kind that is not listed": {"p": {"apiVersion": "v1", "kind": "Secret"}, "want": false},
		"a status that is none": {"p": {"status": "Maybe"}, "want": false},
		"a condition that is none": {"p": {"condition": ""}, "want": false},
		"no time at all": {"p": {"timeout": "0s"}, "want": false},
		"a name that climbs": {"p": {"name": "../x"}, "want": false},
		"a namespace that is none": {"p": {"namespace": "A B"}, "want": false},
	}
	got := {true | action.parameters_valid with input as objects.question(
		"action", "wait_for_condition",
		object.union(parameters, {"waitForCondition": tc.p}), {},
	)}
	got == {true | tc.want}
}

test_the_target_of_a_node_has_no_namespace if {
	got := action.target with input as objects.question(
		"action", "wait_for_condition", {"waitForCondition": {
			"apiVersion": "v1",
			"kind": "Node",
			"name": "n-1",
			"condition": "Ready",
		}},
		{},
	)
	got == {"apiVersion": "v1", "kind": "Node", "name": "n-1"}
}

test_the_object_is_read_afterwards_only[note] if {
	some note, tc in {
		"before": {"gate": "action", "want": set()},
		"afterwards": {"gate": "verify", "want": {"object"}},
	}
	got := action.facts with input as objects.question(tc.gate, "wait_for_condition", parameters, {})
	{request.id | some request in got} == tc.want
}

test_the_result_says_what_is_reported[note] if {
	some note, tc in {
		"reached": {
			"conditions": [{"type": "Complete", "status": "True"}],
			"want": {"success": true, "status": "True"},
		},
		"not reported": {"conditions": [], "want": {"success": false, "status": "not reported"}},
	}
	got := action.result with input as objects.sent("wait_for_condition", parameters, [], {"object": objects.found(job(1, tc.conditions))})
	got.success == tc.want.success
	got.customResult == {
		"actionType": "wait_for_condition",
		"output": {"target": "Job migrate", "condition": "Complete", "status": tc.want.status},
	}
}

test_state_and_catalogue_entry if {
	got := action.state with input as objects.sent(
		"wait_for_condition", parameters, [],
		{"object": objects.found(job(1, [{"type": "Complete", "status": "True"}]))},
	)
	got == {"object_found": true, "wanted_status": "True", "status": "True"}
	action.operations == []
	action.no_operations
	action.preconditions == {}
	action.service_account == "wait-for-condition-sa"
	action.executor == "api"
	action.estimated_seconds == 60
	action.reversible
}

# RBAC is written out, the kinds are a table: neither may know something that the other does not.
test_permissions_cover_just_the_kinds_of_the_table if {
	granted := {[group, resource] | some rule in action.permissions; some group in rule.apiGroups; some resource in rule.resources}
	wanted := {[group, resource] |
		some version, table in action.kinds
		some resource in table
		group := concat("", array.slice(split(version, "/"), 0, count(split(version, "/")) - 1))
	}
	granted == wanted
}
