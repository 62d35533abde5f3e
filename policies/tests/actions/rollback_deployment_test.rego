package kubernaut.actions.rollback_deployment_test

import data.kubernaut.actions.rollback_deployment as action
import data.kubernaut.testing.objects

parameters := {"rollbackDeployment": {"deployment": "web"}}

facts := {
	"deployment": objects.found(objects.deployment),
	"replicasets": objects.listed([objects.replicaset(1, "web:1"), objects.replicaset(2, "web:2")]),
}

# The facts, some of them replaced as a whole.
known(changed) := object.union(object.remove(facts, object.keys(changed)), changed)

asked(changed) := objects.question("action", "rollback_deployment", parameters, known(changed))

history := [objects.replicaset(1, "web:1"), objects.replicaset(2, "web:2"), objects.replicaset(3, "web:3")]

target := {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"}

test_the_template_of_the_revision_before_comes_back if {
	got := action.operations with input as asked({})
	containers := [{"name": "app", "image": "web:1"}]
	got == [{
		"do": object.union(target, {"verb": "patch", "patchType": "json", "body": [
			{"op": "test", "path": "/metadata/uid", "value": "d-1"},
			{"op": "test", "path": "/metadata/generation", "value": 4},
			{"op": "test", "path": "/spec/template/spec/containers", "value": objects.deployment.spec.template.spec.containers},
			{"op": "test", "path": "/spec/template/spec/terminationGracePeriodSeconds", "value": 30},
			{"op": "replace", "path": "/spec/template/spec/containers", "value": containers},
			{"op": "remove", "path": "/spec/template/spec/terminationGracePeriodSeconds"},
		]}),
		"undo": object.union(target, {"verb": "patch", "patchType": "json", "body": [
			{"op": "test", "path": "/metadata/uid", "value": "d-1"},
			{"op": "test", "path": "/spec/template/spec/containers", "value": containers},
			{
				"op": "replace",
				"path": "/spec/template/spec/containers",
				"value": objects.deployment.spec.template.spec.containers,
			},
			{"op": "add", "path": "/spec/template/spec/terminationGracePeriodSeconds", "value": 30},
		]}),
	}]
	objects.undone(got[0], objects.deployment)
}

test_a_revision_may_be_named if {
	got := action.operations with input as objects.question(
		"action", "rollback_deployment",
		{"rollbackDeployment": {"deployment": "web", "revision": 2}},
		known({"replicasets": objects.listed(history)}),
	)
	got[0].do.body[4].value == [{"name": "app", "image": "web:2"}]
}

test_facts_are_asked_in_rounds[note] if {
	some note, tc in {
		"first the Deployment alone": {"gate": "action", "facts": {}, "want": {"deployment"}},
		"then its ReplicaSets": {
			"gate": "action",
			"facts": {"deployment": objects.found(objects.deployment)},
			"want": {"deployment", "replicasets"},
		},
		"afterwards the pods too": {"gate": "verify", "facts": facts, "want": {"deployment", "pods"}},
	}
	got := action.facts with input as objects.question(tc.gate, "rollback_deployment", parameters, tc.facts)
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
		"there is no earlier revision": {
			"facts": {"replicasets": objects.listed([objects.replicaset(2, "web:2")])},
			"unmet": {"revision_exists"},
		},
		"the ReplicaSet belongs to another Deployment of that name": {
			"facts": {"replicasets": objects.listed([json.patch(
				objects.replicaset(1, "web:1"),
				[{"op": "replace", "path": "/metadata/ownerReferences/0/uid", "value": "d-0"}],
			)])},
			"unmet": {"revision_exists"},
		},
		"two ReplicaSets claim the revision": {
			"facts": {"replicasets": objects.listed([objects.replicaset(1, "web:1"), objects.replicaset(1, "web:0")])},
			"unmet": {"revision_exists"},
		},
		"the ReplicaSets are unknown": {"facts": {"replicasets": objects.unknown("timeout")}, "unmet": {"revision_exists"}},
	}
	got := action.holds with input as asked(tc.facts)
	declared - got == tc.unmet
}

test_parameters[note] if {
	some note, tc in {
		"complete": {"p": parameters.rollbackDeployment, "want": true},
		"the namespace may be another": {"p": object.union(parameters.rollbackDeployment, {"namespace": "other"}), "want": true},
		"no name": {"p": object.remove(parameters.rollbackDeployment, ["deployment"]), "want": false},
		"a name that climbs": {"p": object.union(parameters.rollbackDeployment, {"deployment": "../web"}), "want": false},
		"a namespace that is a number": {"p": object.union(parameters.rollbackDeployment, {"namespace": 5}), "want": false},
		"a revision in words": {"p": object.union(parameters.rollbackDeployment, {"revision": "latest"}), "want": false},
	}
	got := {true | action.parameters_valid with input as objects.question("action", "rollback_deployment", {"rollbackDeployment": tc.p}, {})}
	got == {true | tc.want}
}

done(operations) := objects.found(objects.done(operations[0], objects.deployment))

verified(operations, changed) := objects.sent("rollback_deployment", parameters, operations, object.union(
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

test_the_result_says_what_was_replaced if {
	sent := action.operations with input as asked({})
	got := action.result with input as verified(sent, {})
	got.success
	got.updateResult.updateType == "spec"
	contains(got.updateResult.previousValue, "web:2")
	contains(got.updateResult.newValue, "web:1")
	got.resourcesAffected == [{"resourceType": "Deployment", "namespace": "shop", "name": "web", "changeType": "update"}]
}

test_the_catalogue_entry_is_whole if {
	action.member == "rollbackDeployment"
	action.service_account == "rollback-deployment-sa"
	action.executor == "api"
	action.timeout_seconds == 600
	action.estimated_seconds == 60
	action.reversible
	count(action.permissions) > 0
}

test_the_target_is_the_deployment_that_the_parameters_name if {
	got := action.target with input as asked({})
	got == target
}

test_parameters_of_another_action_do_not_count if {
	other := {"restorePreviousDeployment": {"deployment": "web"}}
	got := {true | action.parameters_valid with input as objects.question("action", "rollback_deployment", other, {})}
	got == set()
}

test_state_is_flat if {
	got := action.state with input as asked({})
	got == {
		"deployment_found": true,
		"deployment_name": "web",
		"namespace": "shop",
		"replicas": 3,
		"paused": false,
		"current_revision": 2,
		"wanted_revision": 1,
	}
}
