package kubernaut.actions.scale_to_previous_test

import data.kubernaut.actions.scale_to_previous as action
import data.kubernaut.testing.objects

target := {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"}

facts := {"deployment": objects.found(objects.scaled(5)), "pods": objects.listed([objects.pod("a")])}

to(replicas) := {"scaleToPrevious": {"deployment": "web", "previousReplicas": replicas}}

unnamed := {"scaleToPrevious": {"deployment": "web"}}

# What scale_deployment recorded when it went from three to five.
recorded := [{"undo": object.union(target, {"verb": "patch", "patchType": "json", "body": [
	{"op": "test", "path": "/metadata/uid", "value": "d-1"},
	{"op": "test", "path": "/spec/replicas", "value": 5},
	{"op": "replace", "path": "/spec/replicas", "value": 3},
]})}]

asked(parameters) := objects.question("action", "scale_to_previous", parameters, facts)

test_the_earlier_number_is_given_or_recorded[note] if {
	some note, question in {
		"given": asked(to(3)),
		"recorded by the step": object.union(asked(unnamed), {"recorded": recorded}),
		"given although recorded": object.union(asked(to(3)), {"recorded": json.patch(
			recorded,
			[{"op": "replace", "path": "/0/undo/body/2/value", "value": 1}],
		)}),
	}
	got := action.operations with input as question
	got == [{
		"do": object.union(target, {"verb": "patch", "patchType": "json", "body": [
			{"op": "test", "path": "/metadata/uid", "value": "d-1"},
			{"op": "test", "path": "/metadata/generation", "value": 4},
			{"op": "test", "path": "/spec/replicas", "value": 5},
			{"op": "replace", "path": "/spec/replicas", "value": 3},
		]}),
		"undo": object.union(target, {"verb": "patch", "patchType": "json", "body": [
			{"op": "test", "path": "/metadata/uid", "value": "d-1"},
			{"op": "test", "path": "/spec/replicas", "value": 3},
			{"op": "replace", "path": "/spec/replicas", "value": 5},
		]}),
	}]
	objects.undone(got[0], objects.scaled(5))
}

test_preconditions[note] if {
	declared := object.keys(action.preconditions)
	some note, tc in {
		"all hold": {"question": asked(to(3)), "unmet": set()},
		"the Deployment does not exist": {
			"question": objects.question("action", "scale_to_previous", to(3), {"deployment": objects.absent}),
			"unmet": {"deployment_exists"},
		},
		"the Deployment is unknown": {
			"question": objects.question("action", "scale_to_previous", to(3), {"deployment": objects.unknown("timeout")}),
			"unmet": {"deployment_exists"},
		},
		"nobody knows the earlier number": {"question": asked(unnamed), "unmet": {"previous_replicas_known"}},
		"another Deployment's record does not count": {
			"question": object.union(asked(unnamed), {"recorded": json.patch(
				recorded,
				[{"op": "replace", "path": "/0/undo/name", "value": "other"}],
			)}),
			"unmet": {"previous_replicas_known"},
		},
	}
	got := action.holds with input as tc.question
	declared - got == tc.unmet
}

test_facts_are_asked_in_rounds[note] if {
	some note, tc in {
		"before, the Deployment alone": {"gate": "action", "want": {"deployment"}},
		"afterwards the pods too": {"gate": "verify", "want": {"deployment", "pods"}},
	}
	got := action.facts with input as objects.question(tc.gate, "scale_to_previous", to(3), facts)
	{request.id | some request in got} == tc.want
}

test_parameters[note] if {
	some note, tc in {
		"complete": {"p": to(3).scaleToPrevious, "want": true},
		"the number may be left out": {"p": unnamed.scaleToPrevious, "want": true},
		"no name": {"p": {"previousReplicas": 3}, "want": false},
		"too many": {"p": to(10001).scaleToPrevious, "want": false},
		"a name that climbs": {"p": {"deployment": "../web"}, "want": false},
	}
	got := {true | action.parameters_valid with input as asked({"scaleToPrevious": tc.p})}
	got == {true | tc.want}
}

test_postconditions[note] if {
	sent := action.operations with input as asked(to(3))
	declared := object.keys(action.postconditions)
	some note, tc in {
		"all hold when three are available": {
			"facts": {"deployment": objects.found(objects.scaled(3)), "pods": objects.listed([])},
			"unmet": set(),
		},
		"it is not scaled back yet": {"facts": facts, "unmet": {"desired_replicas_running"}},
		"one is not available": {
			"facts": {
				"deployment": objects.found(object.union(objects.scaled(3), {"status": {"availableReplicas": 2}})),
				"pods": objects.listed([]),
			},
			"unmet": {"desired_replicas_running"},
		},
		"a container crash loops": {
			"facts": {
				"deployment": objects.found(objects.scaled(3)),
				"pods": objects.listed([objects.waiting_pod("a", "CrashLoopBackOff")]),
			},
			"unmet": {"no_crashloop_pods"},
		},
		"nothing is known": {"facts": {}, "unmet": {"desired_replicas_running", "no_crashloop_pods"}},
	}
	got := action.holds with input as objects.sent("scale_to_previous", unnamed, sent, tc.facts)
	declared - got == tc.unmet
}

test_the_result_says_from_where_to_where if {
	sent := action.operations with input as asked(to(3))
	got := action.result with input as objects.sent("scale_to_previous", unnamed, sent, {
		"deployment": objects.found(objects.scaled(3)),
		"pods": objects.listed([]),
	})
	got.success
	got.scaleResult == {"previousReplicas": 5, "newReplicas": 3, "scaledNamespace": "shop", "scaledDeployment": "web"}
}

test_the_catalogue_entry_is_whole if {
	action.service_account == "scale-to-previous-sa"
	action.executor == "api"
	action.timeout_seconds == 300
	action.estimated_seconds == 30
	action.reversible
	count(action.permissions) == 2
}

test_state_names_what_it_is_about if {
	got := action.state with input as asked(to(3))
	[got.deployment_name, got.namespace, got.deployment_found] == ["web", "shop", true]
}
