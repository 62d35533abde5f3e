package kubernaut.actions.verify_health_test

import data.kubernaut.actions.verify_health as action
import data.kubernaut.testing.objects

of(kind) := {"verifyHealth": {"kind": kind, "name": "web"}}

set_of(kind, status) := {
	"kind": kind,
	"metadata": {"name": "web", "uid": "s", "generation": 1},
	"spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": objects.deployment.spec.template},
	"status": object.union({"observedGeneration": 1}, status),
}

pods := objects.listed([objects.pod("a"), objects.pod("b")])

test_health_of_a_deployment[note] if {
	declared := object.keys(action.postconditions)
	some note, tc in {
		"a Deployment that is rolled out": {"kind": "Deployment", "workload": objects.deployment, "pods": pods, "unmet": set()},
		"a Deployment that is rolling": {
			"kind": "Deployment",
			"workload": object.union(objects.deployment, {"status": {"updatedReplicas": 1}}),
			"pods": pods,
			"unmet": {"workload_healthy"},
		},
		"a pod of it is not ready": {
			"kind": "Deployment",
			"workload": objects.deployment,
			"pods": objects.listed([objects.waiting_pod("a", "ContainerCreating")]),
			"unmet": {"workload_healthy"},
		},
		"a pod of it crash loops": {
			"kind": "Deployment",
			"workload": objects.deployment,
			"pods": objects.listed([objects.waiting_pod("a", "CrashLoopBackOff")]),
			"unmet": declared,
		},
		"its pods are unknown": {
			"kind": "Deployment",
			"workload": objects.deployment,
			"pods": objects.unknown("timeout"),
			"unmet": declared,
		},
	}
	got := action.holds with input as objects.sent(
		"verify_health", of(tc.kind), [],
		{"workload": objects.found(tc.workload), "pods": tc.pods},
	)
	declared - got == tc.unmet
}

test_health_of_other_kinds[note] if {
	declared := object.keys(action.postconditions)
	statefulset := set_of("StatefulSet", {
		"replicas": 2, "readyReplicas": 2, "availableReplicas": 2,
		"currentRevision": "1", "updateRevision": "1",
	})
	daemonset := set_of("DaemonSet", {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2})
	some note, tc in {
		"a StatefulSet at its revision": {"kind": "StatefulSet", "workload": statefulset, "pods": pods, "unmet": set()},
		"a StatefulSet on its way": {
			"kind": "StatefulSet",
			"workload": object.union(statefulset, {"status": {"updateRevision": "2"}}),
			"pods": pods,
			"unmet": {"workload_healthy"},
		},
		"a DaemonSet on all its nodes": {"kind": "DaemonSet", "workload": daemonset, "pods": pods, "unmet": set()},
		"a DaemonSet that lacks a node": {
			"kind": "DaemonSet",
			"workload": object.union(daemonset, {"status": {"numberAvailable": 1}}),
			"pods": pods,
			"unmet": {"workload_healthy"},
		},
		"a ready pod": {"kind": "Pod", "workload": objects.pod("web"), "pods": objects.absent, "unmet": set()},
		"a pod that has done its work": {
			"kind": "Pod",
			"workload": object.union(objects.pod("web"), {"status": {"phase": "Succeeded", "conditions": []}}),
			"pods": objects.absent,
			"unmet": set(),
		},
		"a pod that is not ready": {
			"kind": "Pod",
			"workload": objects.waiting_pod("web", "ContainerCreating"),
			"pods": objects.absent,
			"unmet": {"workload_healthy"},
		},
	}
	got := action.holds with input as objects.sent(
		"verify_health", of(tc.kind), [],
		{"workload": objects.found(tc.workload), "pods": tc.pods},
	)
	declared - got == tc.unmet
}

test_preconditions[note] if {
	declared := object.keys(action.preconditions)
	probed := json.patch(objects.deployment, [{
		"op": "add",
		"path": "/spec/template/spec/containers/0/readinessProbe",
		"value": {"httpGet": {"path": "/ready", "port": 80}},
	}])
	some note, tc in {
		"it exists": {"p": {}, "fact": objects.found(objects.deployment), "unmet": set()},
		"it does not exist": {"p": {}, "fact": objects.absent, "unmet": {"workload_exists"}},
		"it is unknown": {"p": {}, "fact": objects.unknown("timeout"), "unmet": {"workload_exists"}},
		"a probe asks the endpoint": {
			"p": {"healthCheckEndpoint": "/ready"},
			"fact": objects.found(probed),
			"unmet": set(),
		},
		"no probe asks the endpoint": {
			"p": {"healthCheckEndpoint": "/healthz"},
			"fact": objects.found(probed),
			"unmet": {"endpoint_is_probed"},
		},
	}
	got := action.holds with input as objects.question(
		"action", "verify_health",
		{"verifyHealth": object.union(of("Deployment").verifyHealth, tc.p)}, {"workload": tc.fact},
	)
	declared - got == tc.unmet
}

test_only_an_http_probe_asks_a_path[note] if {
	some note, tc in {
		"a path": {"probe": {"httpGet": {"path": "/ready", "port": 80}}, "want": ["/ready"]},
		"no path is the root": {"probe": {"httpGet": {"port": 80}}, "want": ["/"]},
		"a socket has none": {"probe": {"tcpSocket": {"port": 80}}, "want": []},
		"a command has none": {"probe": {"exec": {"command": ["true"]}}, "want": []},
		"a call has none": {"probe": {"grpc": {"port": 80}}, "want": []},
	}
	probed := json.patch(objects.deployment, [{
		"op": "add",
		"path": "/spec/template/spec/containers/0/livenessProbe",
		"value": tc.probe,
	}])
	question := objects.question(
		"action", "verify_health",
		{"verifyHealth": object.union(of("Deployment").verifyHealth, {"healthCheckEndpoint": "/"})},
		{"workload": objects.found(probed)},
	)
	got := action.state with input as question
	got.probed_paths == tc.want
	holds := action.holds with input as question
	holds & {"endpoint_is_probed"} == {"endpoint_is_probed" | "/" in tc.want}
}

test_parameters[note] if {
	some note, tc in {
		"a Deployment": {"p": of("Deployment").verifyHealth, "want": true},
		"a pod": {"p": of("Pod").verifyHealth, "want": true},
		"another kind": {"p": of("Job").verifyHealth, "want": false},
		"no name": {"p": {"kind": "Pod"}, "want": false},
		"an endpoint that is no text": {"p": object.union(of("Pod").verifyHealth, {"healthCheckEndpoint": 1}), "want": false},
	}
	got := {true | action.parameters_valid with input as objects.question("action", "verify_health", {"verifyHealth": tc.p}, {})}
	got == {true | tc.want}
}

test_facts_are_asked_in_rounds[note] if {
	known := {"workload": objects.found(objects.deployment)}
	some note, tc in {
		"before, the workload": {"gate": "action", "kind": "Deployment", "facts": known, "want": {"workload"}},
		"afterwards its pods too": {"gate": "verify", "kind": "Deployment", "facts": known, "want": {"workload", "pods"}},
		"a pod has none": {
			"gate": "verify",
			"kind": "Pod",
			"facts": {"workload": objects.found(objects.pod("web"))},
			"want": {"workload"},
		},
	}
	got := action.facts with input as objects.question(tc.gate, "verify_health", of(tc.kind), tc.facts)
	{request.id | some request in got} == tc.want
}

test_the_result_counts_the_pods if {
	got := action.result with input as objects.sent(
		"verify_health", of("Deployment"), [],
		{"workload": objects.found(objects.deployment), "pods": pods},
	)
	got == {
		"success": true,
		"customResult": {"actionType": "verify_health", "output": {"target": "Deployment shop/web", "pods": "2", "unreadyPods": "0"}},
		"resourcesAffected": [],
		"warnings": [],
	}
}

test_state_and_catalogue_entry if {
	got := action.state with input as objects.question(
		"verify", "verify_health", of("Deployment"),
		{"workload": objects.found(objects.deployment), "pods": pods},
	)
	got == {
		"workload_found": true,
		"kind": "Deployment",
		"name": "web",
		"namespace": "shop",
		"probed_paths": [],
		"unready_pods": 0,
		"crashlooping_pods": 0,
	}
	action.operations == []
	action.no_operations
	action.service_account == "verify-health-sa"
	action.executor == "api"
	action.timeout_seconds == 300
	action.estimated_seconds == 10
	action.reversible
	count(action.permissions) == 2
}
