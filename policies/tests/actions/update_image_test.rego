package kubernaut.actions.update_image_test

import data.kubernaut.actions.update_image as action
import data.kubernaut.testing.objects

parameters := {"updateImage": {"deployment": "web", "container": "app", "newImage": "web:3"}}

facts := {
	"deployment": objects.found(objects.deployment),
}

# The facts, some of them replaced as a whole.
known(changed) := object.union(object.remove(facts, object.keys(changed)), changed)

asked(changed) := objects.question("action", "update_image", parameters, known(changed))

target := {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"}

test_the_image_is_tested_and_replaced_where_the_container_stands if {
	got := action.operations with input as asked({})
	got == [{
		"do": object.union(target, {"verb": "patch", "patchType": "json", "body": [
			{"op": "test", "path": "/metadata/uid", "value": "d-1"},
			{"op": "test", "path": "/metadata/generation", "value": 4},
			{"op": "test", "path": "/spec/template/spec/containers/0/name", "value": "app"},
			{"op": "test", "path": "/spec/template/spec/containers/0/image", "value": "web:2"},
			{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "web:3"},
		]}),
		"undo": object.union(target, {"verb": "patch", "patchType": "json", "body": [
			{"op": "test", "path": "/metadata/uid", "value": "d-1"},
			{"op": "test", "path": "/spec/template/spec/containers/0/name", "value": "app"},
			{"op": "test", "path": "/spec/template/spec/containers/0/image", "value": "web:3"},
			{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "web:2"},
		]}),
	}]
	objects.undone(got[0], objects.deployment)
}

with_init := object.union(
	objects.deployment,
	{"spec": {"template": {"spec": {"initContainers": [{"name": "wait", "image": "wait:1"}]}}}},
)

with_sidecar := json.patch(objects.deployment, [{
	"op": "add",
	"path": "/spec/template/spec/containers/-",
	"value": {"name": "proxy", "image": "proxy:1"},
}])

test_the_container_is_found_by_name[note] if {
	some note, tc in {
		"an init container": {"of": with_init, "container": "wait", "want": "/spec/template/spec/initContainers/0/image"},
		"the second one": {"of": with_sidecar, "container": "proxy", "want": "/spec/template/spec/containers/1/image"},
		"the only one needs no name": {"of": with_init, "container": "", "want": "/spec/template/spec/containers/0/image"},
	}
	got := action.operations with input as objects.question(
		"action", "update_image", {"updateImage": {
			"deployment": "web",
			"container": tc.container,
			"newImage": "new:1",
		}},
		{"deployment": objects.found(tc.of)},
	)
	got[0].do.body[4].path == tc.want
}

test_one_of_several_containers_must_be_named if {
	got := action.holds with input as objects.question(
		"action", "update_image", {"updateImage": {
			"deployment": "web",
			"newImage": "new:1",
		}},
		{"deployment": objects.found(with_sidecar)},
	)
	got & {"container_exists"} == set()
}

test_facts_are_asked_in_rounds[note] if {
	some note, tc in {
		"first the Deployment alone": {"gate": "action", "facts": {}, "want": {"deployment"}},
		"afterwards the pods too": {"gate": "verify", "facts": facts, "want": {"deployment", "pods"}},
	}
	got := action.facts with input as objects.question(tc.gate, "update_image", parameters, tc.facts)
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
		"the template has no such container": {
			"facts": {"deployment": objects.found(json.patch(
				objects.deployment,
				[{"op": "replace", "path": "/spec/template/spec/containers/0/name", "value": "other"}],
			))},
			"unmet": {"container_exists"},
		},
	}
	got := action.holds with input as asked(tc.facts)
	declared - got == tc.unmet
}

test_parameters[note] if {
	some note, tc in {
		"complete": {"p": parameters.updateImage, "want": true},
		"the namespace may be another": {"p": object.union(parameters.updateImage, {"namespace": "other"}), "want": true},
		"no name": {"p": object.remove(parameters.updateImage, ["deployment"]), "want": false},
		"a name that climbs": {"p": object.union(parameters.updateImage, {"deployment": "../web"}), "want": false},
		"a namespace that is a number": {"p": object.union(parameters.updateImage, {"namespace": 5}), "want": false},
		"no image": {"p": object.remove(parameters.updateImage, ["newImage"]), "want": false},
		"an image with a blank": {"p": object.union(parameters.updateImage, {"newImage": "web 3"}), "want": false},
		"a container that is no name": {"p": object.union(parameters.updateImage, {"container": ["app"]}), "want": false},
	}
	got := {true | action.parameters_valid with input as objects.question("action", "update_image", {"updateImage": tc.p}, {})}
	got == {true | tc.want}
}

done(operations) := objects.found(objects.done(operations[0], objects.deployment))

verified(operations, changed) := objects.sent("update_image", parameters, operations, object.union(
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

test_the_result_says_from_which_image_to_which if {
	sent := action.operations with input as asked({})
	got := action.result with input as verified(sent, {})
	got == {
		"success": true,
		"updateResult": {
			"resourceType": "Deployment",
			"resourceName": "web",
			"namespace": "shop",
			"updateType": "image",
			"previousValue": "web:2",
			"newValue": "web:3",
		},
		"resourcesAffected": [{"resourceType": "Deployment", "namespace": "shop", "name": "web", "changeType": "update"}],
		"warnings": [],
	}
}

test_the_catalogue_entry_is_whole if {
	action.member == "updateImage"
	action.service_account == "update-image-sa"
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
		"current_image": "web:2",
		"wanted_image": "web:3",
	}
}

test_nothing_is_left_to_do[note] if {
	some note, tc in {
		"the image runs everywhere": {"image": "web:2", "status": {}, "want": {"web runs web:2 already, in every pod"}},
		"another image": {"image": "web:3", "status": {}, "want": set()},
		"still rolling out": {"image": "web:2", "status": {"updatedReplicas": 1}, "want": set()},
		"not healthy": {"image": "web:2", "status": {"conditions": []}, "want": set()},
	}
	wanted := {"updateImage": {"deployment": "web", "container": "app", "newImage": tc.image}}
	deployment := objects.found(object.union(objects.deployment, {"status": tc.status}))
	got := action.unnecessary with input as objects.question("dispatch", "update_image", wanted, {"deployment": deployment})
	got == tc.want
}
