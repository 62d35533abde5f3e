# METADATA
# title: Verify health
# description: |
#   Changes nothing. Waits until a Deployment, StatefulSet, DaemonSet or Pod is as it should be. A healthCheckEndpoint is never fetched; it
#   is a warning unless an HTTP probe of the workload asks that path.
# custom:
#   reversible: true
#   example:
#     action: verify-health
#     parameters:
#       verifyHealth: {kind: Deployment, namespace: shop, name: web, healthCheckEndpoint: /healthz}
package kubernaut.actions.verify_health

import data.kubernaut.lib.outcomes
import data.kubernaut.lib.parameters
import data.kubernaut.lib.workloads

member := "verifyHealth"

service_account := "verify-health-sa"

executor := "api"

timeout_seconds := 300

estimated_seconds := 10

# There is nothing to take back.
reversible := true

no_operations := true

operations := []

permissions := [
	{"apiGroups": ["apps"], "resources": ["deployments", "statefulsets", "daemonsets"], "verbs": ["get"]},
	{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
]

_wanted := input.step.parameters[member]

_api_versions := {"Deployment": "apps/v1", "StatefulSet": "apps/v1", "DaemonSet": "apps/v1", "Pod": "v1"}

parameters_valid if {
	is_object(target)
	is_string(_endpoint)
}

_endpoint := object.get(_wanted, "healthCheckEndpoint", "")

target := parameters.named({
	"apiVersion": _api_versions[_wanted.kind],
	"kind": _wanted.kind,
	"namespace": parameters.namespace(_wanted),
	"name": _wanted.name,
})

facts contains object.union(target, {"id": "workload", "verb": "get"})

facts contains {
	"id": "pods",
	"verb": "list",
	"apiVersion": "v1",
	"kind": "Pod",
	"namespace": target.namespace,
	"labelSelector": workloads.selector(_workload),
	"limit": 1000,
} if {
	input.gate == "verify"
	target.kind != "Pod"
}

_workload := input.facts.workload.object

_pods := [_workload] if target.kind == "Pod"

_pods := input.facts.pods.items if target.kind != "Pod"

_pod_spec := _workload.spec if target.kind == "Pod"

_pod_spec := _workload.spec.template.spec if target.kind != "Pod"

state["workload_found"] if input.facts.workload.found == true

state["kind"] := target.kind

state["name"] := target.name

state["namespace"] := target.namespace

state["probed_paths"] := sort({path |
	some container in _pod_spec.containers
	some probe in ["readinessProbe", "livenessProbe", "startupProbe"]
	path := object.get(container[probe].httpGet, "path", "/")
})

state["unready_pods"] := count(_pods) - count([pod | some pod in _pods; _well(pod)])

state["crashlooping_pods"] := count(workloads.waiting(_pods, {"CrashLoopBackOff"}))

_well(pod) if workloads.pod_ready(pod)

# A pod that has done its work is not ready, and need not be.
_well(pod) if pod.status.phase == "Succeeded"

preconditions := {
	"workload_exists": {
		"required": true,
		"timeout": "10s",
		"message": "the workload must exist",
		"remedy": "check kind, namespace and name in the step's parameters",
	},
	"endpoint_is_probed": {
		"required": false,
		"timeout": "5s",
		"message": "an HTTP probe of the workload should ask the healthCheckEndpoint; nothing else does",
	},
}

postconditions := {
	"workload_healthy": {
		"required": true,
		"timeout": "2m",
		"message": "the workload must be rolled out and available, all its pods ready",
		"remedy": "look at the pods' events and logs",
	},
	"no_crashloop_pods": {
		"required": true,
		"timeout": "2m",
		"message": "no container may be in CrashLoopBackOff",
	},
}

holds contains "workload_exists" if state.workload_found

holds contains "endpoint_is_probed" if _endpoint == ""

holds contains "endpoint_is_probed" if _endpoint in state.probed_paths

holds contains "workload_healthy" if {
	_whole
	state.unready_pods == 0
}

holds contains "no_crashloop_pods" if state.crashlooping_pods == 0

_whole if target.kind == "Pod"

_whole if {
	target.kind == "Deployment"
	workloads.rolled_out(_workload)
	workloads.deployment_healthy(_workload)
}

_whole if {
	target.kind in {"StatefulSet", "DaemonSet"}
	workloads.rolled_out(_workload)
}

result := outcomes.result(postconditions, holds, [], {"customResult": {
	"actionType": "verify_health",
	"output": {
		"target": sprintf("%s %s/%s", [target.kind, target.namespace, target.name]),
		"pods": sprintf("%d", [count(_pods)]),
		"unreadyPods": sprintf("%d", [state.unready_pods]),
	},
}})
