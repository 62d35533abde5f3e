package kubernaut.actions.restart_deployment_test

import data.kubernaut.actions.restart_deployment as action
import data.kubernaut.testing.objects

parameters := {"restartDeployment": {"deployment": "web"}}

facts := {
	"deployment": objects.found(objects.deployment),
}

# The facts, some of them replaced as a whole.
known(changed) := object.union(object.remove(facts, object.keys(changed)), changed)

asked(changed) := objects.question("action", "restart_deployment", parameters, known(changed))

target := {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"}

test_the_template_is_marked_with_the_attempt if {
	got := action.operations with input as asked({})
	got == [{
		"do": object.union(target, {"verb": "patch", "patchType": "json", "body": [
			{"op": "test", "path": "/metadata/uid", "value": "d-1"},
			{"op": "test", "path": "/metadata/generation", "value": 4},
			{
				"op": "add",
				"path": "/spec/template/metadata/annotations",
				"value": {"kubernaut.ai/restarted-by": "a-1"},
			},
		]}),
		"undo": object.union(target, {"verb": "patch", "patchType": "json", "body": [
			{"op": "test", "path": "/metadata/uid", "value": "d-1"},
			{"op": "test", "path": "/spec/template/metadata/annotations/kubernaut.ai~1restarted-by", "value": "a-1"},
			{"op": "remove", "path": "/spec/template/metadata/annotations/kubernaut.ai~1restarted-by"},
		]}),
	}]
	objects.undone(got[0], objects.deployment)
}

marked := object.union(
	objects.deployment,
	{"spec": {"template": {"metadata": {"annotations": {"kubernaut.ai/restarted-by": "a-0"}}}}},
)

test_an_earlier_mark_comes_back if {
	got := action.operations with input as asked({"deployment": objects.found(marked)})
	objects.undone(got[0], marked)
	got[0].undo.body[2] == {
		"op": "replace",
		"path": "/spec/template/metadata/annotations/kubernaut.ai~1restarted-by",
		"value": "a-0",
	}
}

test_without_an_attempt_the_mark_is_a_dry_run if {
	got := action.operations with input as object.remove(asked({}), ["attempt"])
	got[0].do.body[2].value == {"kubernaut.ai/restarted-by": "dry-run"}
}

test_a_grace_period_that_the_template_does_not_have_is_a_warning[note] if {
	some note, tc in {
		"the same": {"grace": "30s", "want": {"grace_period_matches"}},
		"another": {"grace": "5s", "want": set()},
	}
	got := action.holds with input as objects.question(
		"action", "restart_deployment", {"restartDeployment": {
			"deployment": "web",
			"gracePeriod": tc.grace,
		}},
		facts,
	)
	got & {"grace_period_matches"} == tc.want
}

test_facts_are_asked_in_rounds[note] if {
	some note, tc in {
		"first the Deployment alone": {"gate": "action", "facts": {}, "want": {"deployment"}},
		"afterwards the pods too": {"gate": "verify", "facts": facts, "want": {"deployment", "pods"}},
	}
	got := action.facts with input as objects.question(tc.gate, "restart_deployment", parameters, tc.facts)
	{request.id | some request in got} == tc.want
	every request in got {
		request.namespace == "shop"
	}
}

test_preconditions[note] if {
	declared := object.keys(action.preconditions)
	some note, tc in {
		"all hold": {"facts": {}, "unmet": set()},
		"the Deployment does not exist": {"facts": {"deployment": objects.absent}, "unmet": declared},
		"the Deployment is unknown": {"facts": {"deployment": objects.unknown("timeout")}, "unmet": declared},
		"the Deployment is paused": {
			"facts": {"deployment": objects.found(object.union(objects.deployment, {"spec": {"paused": true}}))},
			"unmet": {"deployment_not_paused"},
		},
	}
	got := action.holds with input as asked(tc.facts)
	declared - got == tc.unmet
}

test_parameters[note] if {
	some note, tc in {
		"complete": {"p": parameters.restartDeployment, "want": true},
		"the namespace may be another": {"p": object.union(parameters.restartDeployment, {"namespace": "other"}), "want": true},
		"no name": {"p": object.remove(parameters.restartDeployment, ["deployment"]), "want": false},
		"a name that climbs": {"p": object.union(parameters.restartDeployment, {"deployment": "../web"}), "want": false},
		"a namespace that is a number": {"p": object.union(parameters.restartDeployment, {"namespace": 5}), "want": false},
		"a grace period in words": {"p": object.union(parameters.restartDeployment, {"gracePeriod": "soon"}), "want": false},
	}
	got := {true | action.parameters_valid with input as objects.question("action", "restart_deployment", {"restartDeployment": tc.p}, {})}
	got == {true | tc.want}
}

done(operations) := objects.found(objects.done(operations[0], objects.deployment))

verified(operations, changed) := objects.sent("restart_deployment", parameters, operations, object.union(
	object.remove({"deployment": done(operations), "pods": objects.listed([objects.pod("a")])}, object.keys(changed)),
	changed,
))

test_postconditions[note] if {
	sent := action.operations with input as asked({})
	after := done(sent)
	declared := object.keys(action.postconditions)
	some note, tc in {
		"all hold once it is rolled out": {"facts": {}, "unmet": set()},
		"the change is not there": {"facts": {"deployment": objects.found(objects.deployment)}, "unmet": {"rollout_complete"}},
		"an old replica is left": {
			"facts": {"deployment": objects.found(object.union(after.object, {"status": {"replicas": 4}}))},
			"unmet": {"rollout_complete"},
		},
		"the controller has not seen it yet": {
			"facts": {"deployment": objects.found(object.union(after.object, {"metadata": {"generation": 5}}))},
			"unmet": {"rollout_complete"},
		},
		"the rollout is stuck": {
			"facts": {"deployment": objects.found(json.patch(
				after.object,
				[{"op": "replace", "path": "/status/conditions/1/status", "value": "False"}],
			))},
			"unmet": {"deployment_health_check"},
		},
		"a container crash loops": {
			"facts": {"pods": objects.listed([objects.waiting_pod("a", "CrashLoopBackOff")])},
			"unmet": {"no_crashloop_pods"},
		},
		"the pods are unknown": {"facts": {"pods": objects.unknown("timeout")}, "unmet": {"no_crashloop_pods"}},
		"the Deployment is gone": {
			"facts": {"deployment": objects.absent},
			"unmet": {"rollout_complete", "deployment_health_check"},
		},
	}
	got := action.holds with input as verified(sent, tc.facts)
	declared - got == tc.unmet
}

test_the_result_names_the_new_pods if {
	sent := action.operations with input as asked({})
	new := object.union(objects.pod("new"), {"metadata": {"annotations": {"kubernaut.ai/restarted-by": "a-1"}}})
	got := action.result with input as verified(sent, {"pods": objects.listed([new, objects.pod("old")])})
	got == {
		"success": true,
		"restartResult": {"podsRestarted": 1, "restartedPods": ["new"], "namespace": "shop"},
		"resourcesAffected": [{"resourceType": "Deployment", "namespace": "shop", "name": "web", "changeType": "update"}],
		"warnings": [],
	}
}

test_the_catalogue_entry_is_whole if {
	action.member == "restartDeployment"
	action.service_account == "restart-deployment-sa"
	action.executor == "api"
	action.timeout_seconds == 600
	action.estimated_seconds == 60
	action.reversible
	count(action.permissions) > 0
}

test_state_is_flat if {
	got := action.state with input as asked({})
	got == {
		"deployment_found": true,
		"deployment_name": "web",
		"namespace": "shop",
		"replicas": 3,
		"paused": false,
		"grace_seconds": 30,
	}
}
