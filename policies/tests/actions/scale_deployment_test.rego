package kubernaut.actions.scale_deployment_test

import data.kubernaut.actions.scale_deployment as action
import data.kubernaut.testing.objects

to(replicas) := {"scaleDeployment": {"deployment": "web", "replicas": replicas}}

facts := {
	"deployment": objects.found(objects.deployment),
	"pods": objects.listed([objects.pod("a"), objects.pod("b"), objects.pod("c")]),
	"nodes": objects.listed([objects.node]),
	"cluster_pods": objects.listed([objects.pod("a"), objects.pod("b"), objects.pod("c")]),
}

asked(parameters, changed) := objects.question("action", "scale_deployment", parameters, known(changed))

# The facts, some of them replaced as a whole.
known(changed) := object.union(object.remove(facts, object.keys(changed)), changed)

test_the_way_there_and_the_way_back_come_from_one_pre_image if {
	target := {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"}
	got := action.operations with input as asked(to(5), {})
	got == [{
		"do": object.union(target, {"verb": "patch", "patchType": "json", "body": [
			{"op": "test", "path": "/metadata/uid", "value": "d-1"},
			{"op": "test", "path": "/metadata/generation", "value": 4},
			{"op": "test", "path": "/spec/replicas", "value": 3},
			{"op": "replace", "path": "/spec/replicas", "value": 5},
		]}),
		"undo": object.union(target, {"verb": "patch", "patchType": "json", "body": [
			{"op": "test", "path": "/metadata/uid", "value": "d-1"},
			{"op": "test", "path": "/spec/replicas", "value": 5},
			{"op": "replace", "path": "/spec/replicas", "value": 3},
		]}),
	}]
	objects.undone(got[0], objects.deployment)
}

test_parameters[note] if {
	some note, tc in {
		"a number of replicas is enough": {"p": {"deployment": "web", "replicas": 0}, "want": true},
		"the namespace may be another": {"p": {"namespace": "other", "deployment": "web", "replicas": 1}, "want": true},
		"more than ten thousand is too many": {"p": {"deployment": "web", "replicas": 10001}, "want": false},
		"less than none is impossible": {"p": {"deployment": "web", "replicas": -1}, "want": false},
		"half a replica is impossible": {"p": {"deployment": "web", "replicas": 1.5}, "want": false},
		"a word is no number": {"p": {"deployment": "web", "replicas": "5"}, "want": false},
		"the baseline is bounded too": {"p": {"deployment": "web", "replicas": 5, "expectedReplicas": -2}, "want": false},
		"a name is needed": {"p": {"replicas": 5}, "want": false},
		"a name is a word of lower case": {"p": {"deployment": "../web", "replicas": 5}, "want": false},
		"another action's member does not count": {"p": {}, "want": false},
	}
	got := {true | action.parameters_valid with input as asked({"scaleDeployment": tc.p}, {})}
	got == {true | tc.want}
}

test_facts_are_asked_in_rounds[note] if {
	some note, tc in {
		"first the Deployment alone": {"gate": "action", "facts": {}, "want": {"deployment"}},
		"then pods and, growing, nodes": {
			"gate": "action",
			"facts": {"deployment": objects.found(objects.deployment)},
			"want": {"deployment", "pods", "nodes", "cluster_pods"},
		},
		"a Deployment that does not grow needs no nodes": {
			"gate": "action",
			"facts": {"deployment": objects.found(objects.scaled(5))},
			"want": {"deployment", "pods"},
		},
		"afterwards only what the postconditions need": {
			"gate": "verify",
			"facts": {"deployment": objects.found(objects.deployment)},
			"want": {"deployment", "pods"},
		},
	}
	got := action.facts with input as objects.question(tc.gate, "scale_deployment", to(5), tc.facts)
	{request.id | some request in got} == tc.want
	every request in got {
		object.get(request, "namespace", "shop") == "shop"
	}
}

all_of_them := object.keys(action.preconditions)

test_preconditions[note] if {
	some note, tc in {
		"all hold when there is room": {"to": 5, "facts": {}, "unmet": set()},
		"the Deployment does not exist": {
			"to": 5,
			"facts": {"deployment": objects.absent, "pods": objects.unknown("not_asked")},
			"unmet": all_of_them,
		},
		"the Deployment is unknown": {
			"to": 5,
			"facts": {"deployment": objects.unknown("timeout"), "pods": objects.unknown("timeout")},
			"unmet": all_of_them,
		},
		"no node has the labels that the pods select": {
			"to": 5,
			"facts": {"deployment": objects.found(object.union(
				objects.deployment,
				{"spec": {"template": {"spec": {"nodeSelector": {"disk": "tape"}}}}},
			))},
			"unmet": {"node_selector_matches"},
		},
		"pods with pull secrets that run prove them": {
			"to": 5,
			"facts": {"deployment": with_pull_secret},
			"unmet": set(),
		},
		"a pod with a pull secret cannot pull": {
			"to": 5,
			"facts": {
				"deployment": with_pull_secret,
				"pods": objects.listed([objects.pod("a"), objects.waiting_pod("b", "ImagePullBackOff")]),
			},
			"unmet": {"image_pull_secrets_valid"},
		},
		"nothing runs yet that would prove the pull secret": {
			"to": 5,
			"facts": {"deployment": with_pull_secret, "pods": objects.listed([])},
			"unmet": {"image_pull_secrets_valid"},
		},
	}
	got := action.holds with input as asked(to(tc.to), tc.facts)
	all_of_them - got == tc.unmet
}

test_capacity[note] if {
	some note, tc in {
		"more CPU is wanted than there is": {"to": 9, "facts": {}, "unmet": {"cluster_capacity_available"}},
		"just as much CPU is wanted as there is": {"to": 8, "facts": {}, "unmet": set()},
		"more memory is wanted than there is": {
			"to": 5,
			"facts": {"nodes": objects.listed([json.patch(objects.node, [{
				"op": "replace",
				"path": "/status/allocatable/memory",
				"value": "1Gi",
			}])])},
			"unmet": {"cluster_capacity_available"},
		},
		"no node is schedulable": {
			"to": 5,
			"facts": {"nodes": objects.listed([object.union(objects.node, {"spec": {"unschedulable": true}})])},
			"unmet": {"cluster_capacity_available"},
		},
		"the nodes are unknown": {
			"to": 5,
			"facts": {"nodes": objects.unknown("forbidden")},
			"unmet": {"cluster_capacity_available", "node_selector_matches"},
		},
		"others' pods are hidden from the account": {
			"to": 5,
			"facts": {"cluster_pods": objects.unknown("forbidden")},
			"unmet": set(),
		},
		"others' pods were not read in time": {
			"to": 5,
			"facts": {"cluster_pods": objects.unknown("timeout")},
			"unmet": {"cluster_capacity_available"},
		},
		"fewer replicas need no room": {
			"to": 2,
			"facts": {"nodes": objects.unknown("forbidden"), "cluster_pods": objects.unknown("forbidden")},
			"unmet": set(),
		},
	}
	got := action.holds with input as asked(to(tc.to), tc.facts)
	all_of_them - got == tc.unmet
}

with_pull_secret := objects.found(object.union(
	objects.deployment,
	{"spec": {"template": {"spec": {"imagePullSecrets": [{"name": "registry"}]}}}},
))

test_the_baseline_is_compared_where_one_is_given[note] if {
	some note, tc in {
		"as expected": {"expected": 3, "want": {"replicas_match"}},
		"scaled by someone else": {"expected": 2, "want": set()},
	}
	got := action.holds
		with input as asked({"scaleDeployment": {"deployment": "web", "replicas": 5, "expectedReplicas": tc.expected}}, {})
	got & {"replicas_match"} == tc.want
}

test_state_is_the_flat_document_of_the_reference if {
	got := action.state with input as asked(object.union(to(5), {"scaleDeployment": {"expectedReplicas": 3}}), {})
	got == {
		"deployment_found": true,
		"deployment_name": "web",
		"namespace": "shop",
		"current_replicas": 3,
		"expected_baseline": 3,
		"target_replicas": 5,
		"additional_replicas": 2,
		"required_cpu_per_pod": 0.5,
		"required_memory_per_pod": 268435456,
		"available_cpu": 2.5,
		"available_memory": 7784628224,
		"running_pods": 3,
		"ready_pods": 3,
		"conditions": {"Available": "True", "Progressing": "True", "ReplicaFailure": "Unknown"},
		"image_pull_secrets": 0,
		"image_pull_failures": 0,
		"selected_nodes": 1,
		"crashlooping_pods": 0,
		"starved_pods": 0,
	}
}

test_postconditions[note] if {
	all_post := object.keys(action.postconditions)
	some note, tc in {
		"all hold when five are available": {"facts": {"deployment": objects.found(objects.scaled(5))}, "unmet": set()},
		"the rollout has not been seen yet": {
			"facts": {"deployment": objects.found(object.union(objects.scaled(5), {"metadata": {"generation": 5}}))},
			"unmet": {"desired_replicas_running"},
		},
		"one replica is not available": {
			"facts": {"deployment": objects.found(object.union(objects.scaled(5), {"status": {"availableReplicas": 4}}))},
			"unmet": {"desired_replicas_running"},
		},
		"someone scaled it again": {"facts": {}, "unmet": {"desired_replicas_running"}},
		"the Deployment is not available": {
			"facts": {"deployment": objects.found(json.patch(
				objects.scaled(5),
				[{"op": "replace", "path": "/status/conditions/0/status", "value": "False"}],
			))},
			"unmet": {"deployment_health_check"},
		},
		"a container crash loops": {
			"facts": {
				"deployment": objects.found(objects.scaled(5)),
				"pods": objects.listed([objects.waiting_pod("a", "CrashLoopBackOff")]),
			},
			"unmet": {"no_crashloop_pods"},
		},
		"a container was killed for memory": {
			"facts": {
				"deployment": objects.found(objects.scaled(5)),
				"pods": objects.listed([json.patch(objects.pod("a"), [{
					"op": "add",
					"path": "/status/containerStatuses/0/lastState",
					"value": {"terminated": {"reason": "OOMKilled"}},
				}])]),
			},
			"unmet": {"resource_usage_acceptable"},
		},
		"the pods are unknown": {
			"facts": {"deployment": objects.found(objects.scaled(5)), "pods": objects.unknown("timeout")},
			"unmet": {"no_crashloop_pods", "resource_usage_acceptable"},
		},
		"the Deployment is gone": {
			"facts": {"deployment": objects.absent},
			"unmet": {"desired_replicas_running", "deployment_health_check"},
		},
	}
	got := action.holds with input as objects.sent("scale_deployment", to(5), [], known(tc.facts))
	all_post - got == tc.unmet
}

test_the_result_says_from_where_to_where if {
	operations := action.operations with input as asked(to(5), {})
	got := action.result with input as objects.sent(
		"scale_deployment", to(5), operations,
		known({"deployment": objects.found(objects.scaled(5))}),
	)
	got == {
		"success": true,
		"scaleResult": {
			"previousReplicas": 3,
			"newReplicas": 5,
			"scaledNamespace": "shop",
			"scaledDeployment": "web",
		},
		"resourcesAffected": [{"resourceType": "Deployment", "namespace": "shop", "name": "web", "changeType": "scale"}],
		"warnings": [],
	}
}

test_the_catalogue_entry_is_whole if {
	action.service_account == "scale-deployment-sa"
	action.executor == "api"
	action.timeout_seconds == 300
	action.estimated_seconds == 30
	action.reversible
	count(action.permissions) == 2
}

test_nothing_is_left_to_do[note] if {
	some note, tc in {
		"at the goal, all available": {"deployment": objects.found(objects.scaled(5)), "want": {"web runs 5 replicas already, all available"}},
		"another number": {"deployment": objects.found(objects.deployment), "want": set()},
		"not all available": {
			"deployment": objects.found(object.union(objects.scaled(5), {"status": {"availableReplicas": 4}})),
			"want": set(),
		},
		"not healthy": {
			"deployment": objects.found(object.union(
				objects.scaled(5),
				{"status": {"conditions": [{"type": "Available", "status": "False"}]}},
			)),
			"want": set(),
		},
		"not there": {"deployment": objects.absent, "want": set()},
		"not known": {"deployment": objects.unknown("timeout"), "want": set()},
	}
	got := action.unnecessary with input as objects.question("dispatch", "scale_deployment", to(5), {"deployment": tc.deployment})
	got == tc.want
}
