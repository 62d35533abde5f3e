# METADATA
# title: Scale a Deployment
# description: |
#   Sets the number of replicas of a Deployment, and waits until exactly that many are available.
#   Reading order: what is asked (parameters, target), what must be known (facts, state), what must be true before and after
#   (preconditions, postconditions, and their proofs in `holds`), what is sent (operations), what is reported (result).
# custom:
#   reversible: true
#   example:
#     action: scale-deployment
#     parameters:
#       scaleDeployment: {namespace: shop, deployment: web, replicas: 5, expectedReplicas: 3}
package kubernaut.actions.scale_deployment

import data.kubernaut.lib.capacity
import data.kubernaut.lib.outcomes
import data.kubernaut.lib.parameters
import data.kubernaut.lib.patch
import data.kubernaut.lib.workloads

# METADATA
# description: The member of `parameters` that this action reads.
member := "scaleDeployment"

# METADATA
# description: Who carries it out; the ClusterRole of this account is checked against `permissions`.
service_account := "scale-deployment-sa"

# METADATA
# description: Operations are API requests, not a Job.
executor := "api"

# METADATA
# description: How long an attempt may take when its step does not say.
timeout_seconds := 300

# METADATA
# description: How long it usually takes; planning adds these up.
estimated_seconds := 30

# METADATA
# description: The old number of replicas is recorded before anything is sent.
reversible := true

# METADATA
# description: What the account must be allowed, reads of the facts included.
permissions := [
	{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]},
	{"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["list"]},
]

# What is asked.

_wanted := input.step.parameters[member]

# METADATA
# description: What the CRD schema cannot say.
parameters_valid if {
	is_object(target)
	parameters.whole(_wanted.replicas, 0, 10000)
	parameters.whole(object.get(_wanted, "expectedReplicas", 0), 0, 10000)
}

# METADATA
# description: The one object that is acted on.
target := parameters.named({
	"apiVersion": "apps/v1",
	"kind": "Deployment",
	"namespace": parameters.namespace(_wanted),
	"name": _wanted.deployment,
})

# What must be known. Requests appear as soon as what they depend on has been read; the controller asks again until none is new.

# METADATA
# description: The Deployment, its pods and, before it grows, what the nodes have left.
# scope: document
facts contains object.union(target, {"id": "deployment", "verb": "get"})

facts contains {
	"id": "pods",
	"verb": "list",
	"apiVersion": "v1",
	"kind": "Pod",
	"namespace": target.namespace,
	"labelSelector": workloads.selector(_deployment),
	"limit": 1000,
}

facts contains {"id": "nodes", "verb": "list", "apiVersion": "v1", "kind": "Node", "limit": 1000} if _growing

# Optional: an account that is bound namespace by namespace may not list the pods of others.
facts contains {
	"id": "cluster_pods",
	"verb": "list",
	"apiVersion": "v1",
	"kind": "Pod",
	"fieldSelector": "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed",
	"limit": 1000,
	"optional": true,
} if {
	_growing
}

_growing if {
	input.gate == "action"
	state.additional_replicas > 0
}

_deployment := input.facts.deployment.object

_template := _deployment.spec.template.spec

_pods := input.facts.pods.items

_usable_nodes := capacity.usable(input.facts.nodes.items, _template)

# What the pods on the nodes have asked for. Where others' pods are hidden from the account (or are more than one read returns) this is
# less than the truth; the scheduler and `desired_replicas_running` then have the last word.
_claimed(resource) := capacity.claimed(input.facts.cluster_pods.items, _usable_nodes, resource) if {
	input.facts.cluster_pods.available == true
}

_claimed(resource) := capacity.claimed(_pods, _usable_nodes, resource) if {
	input.facts.cluster_pods.available == false
	input.facts.cluster_pods.reason == "forbidden"
}

# METADATA
# description: The flat document that conditions and team rules see. CPU is in cores, memory in bytes.
# scope: document
state["deployment_found"] if input.facts.deployment.found == true

state["deployment_name"] := target.name

state["namespace"] := target.namespace

state["current_replicas"] := _deployment.spec.replicas

state["expected_baseline"] := _wanted.expectedReplicas

state["target_replicas"] := _wanted.replicas

state["additional_replicas"] := _wanted.replicas - _deployment.spec.replicas

state["required_cpu_per_pod"] := capacity.requested(_template, "cpu")

state["required_memory_per_pod"] := capacity.requested(_template, "memory")

state["available_cpu"] := capacity.allocatable(_usable_nodes, "cpu") - _claimed("cpu")

state["available_memory"] := capacity.allocatable(_usable_nodes, "memory") - _claimed("memory")

# Counted only when known: a comprehension over nothing would say "none".
state["running_pods"] := count([pod | some pod in _pods; pod.status.phase == "Running"]) if is_array(_pods)

state["ready_pods"] := count([pod | some pod in _pods; workloads.pod_ready(pod)]) if is_array(_pods)

state["conditions"] := {
	"Available": workloads.condition(_deployment, "Available"),
	"Progressing": workloads.condition(_deployment, "Progressing"),
	"ReplicaFailure": workloads.condition(_deployment, "ReplicaFailure"),
}

state["image_pull_secrets"] := count(object.get(_template, "imagePullSecrets", []))

state["image_pull_failures"] := count(workloads.waiting(_pods, {"ErrImagePull", "ImagePullBackOff", "InvalidImageName"}))

state["selected_nodes"] := count(capacity.selected(input.facts.nodes.items, _template))

state["crashlooping_pods"] := count(workloads.waiting(_pods, {"CrashLoopBackOff"}))

state["starved_pods"] := count(workloads.starved(_pods))

# What must be true. Declared here, proven below: a proof that is undefined leaves its condition unmet, never absent.

# METADATA
# description: Judged by the gate `action`, before anything is sent.
preconditions := {
	"deployment_exists": {
		"required": true,
		"timeout": "10s",
		"message": "the Deployment to scale must exist",
		"remedy": "check the namespace and the name in the step's parameters",
	},
	"cluster_capacity_available": {
		"required": true,
		"timeout": "10s",
		"message": "the nodes must have enough unclaimed CPU and memory for the additional replicas",
		"remedy": "add nodes, lower the pods' requests, or ask for fewer replicas",
	},
	"replicas_match": {
		"required": false,
		"timeout": "5s",
		"message": "the Deployment should have the number of replicas that the author expected",
		"remedy": "someone else (an autoscaler, perhaps) has scaled it since the step was written",
	},
	"image_pull_secrets_valid": {
		"required": false,
		"timeout": "5s",
		"message": "images that need a pull secret should be running already, without pull errors",
	},
	"node_selector_matches": {
		"required": false,
		"timeout": "5s",
		"message": "a node should carry the labels that the pods select",
	},
}

# METADATA
# description: Judged by the gate `verify`, after the operation was answered.
postconditions := {
	"desired_replicas_running": {
		"required": true,
		"timeout": "2m",
		"message": "exactly the wanted replicas must be available, none of them old",
		"remedy": "look at the pods' events: they may lack room, an image or a passing readiness probe",
	},
	"deployment_health_check": {
		"required": true,
		"timeout": "2m",
		"message": "the Deployment must be available, progressing and without replica failures",
	},
	"no_crashloop_pods": {
		"required": true,
		"timeout": "2m",
		"message": "no container may be in CrashLoopBackOff",
	},
	"resource_usage_acceptable": {
		"required": false,
		"timeout": "30s",
		"message": "no pod should have been killed or evicted for the resources it uses",
	},
}

# METADATA
# description: The conditions that are proven to hold.
# scope: document
holds contains "deployment_exists" if state.deployment_found

holds contains "cluster_capacity_available" if state.additional_replicas <= 0

holds contains "cluster_capacity_available" if {
	count(_usable_nodes) > 0
	state.available_cpu >= state.required_cpu_per_pod * state.additional_replicas
	state.available_memory >= state.required_memory_per_pod * state.additional_replicas
}

holds contains "replicas_match" if state.current_replicas == object.get(state, "expected_baseline", state.current_replicas)

holds contains "image_pull_secrets_valid" if state.image_pull_secrets == 0

# Pods that run now were pulled with the very same secrets; so no Secret needs to be read.
holds contains "image_pull_secrets_valid" if {
	state.running_pods > 0
	state.image_pull_failures == 0
}

holds contains "node_selector_matches" if state.additional_replicas <= 0

holds contains "node_selector_matches" if state.selected_nodes > 0

holds contains "desired_replicas_running" if {
	state.current_replicas == state.target_replicas
	workloads.rolled_out(_deployment)
}

holds contains "deployment_health_check" if workloads.deployment_healthy(_deployment)

holds contains "no_crashloop_pods" if state.crashlooping_pods == 0

holds contains "resource_usage_acceptable" if state.starved_pods == 0

# METADATA
# description: |
#   Why nothing is left to do. The gate `dispatch` may then leave the step out, where the workflow allows it. It reads only what `facts`
#   asks for first.
# scope: document
unnecessary contains sprintf("%s runs %d replicas already, all available", [state.deployment_name, state.current_replicas]) if {
	"desired_replicas_running" in holds
	"deployment_health_check" in holds
}

# What is sent.

# METADATA
# description: |
#   The way there and the way back, from one reading of the Deployment. The way there also tests the generation, so that it lands once or
#   never; the way back tests only what the way there wrote, so that a later change of someone else is not overwritten.
operations := [{
	"do": patch.request(target, array.concat(
		patch.guards(_deployment),
		_replicas(state.current_replicas, state.target_replicas),
	)),
	"undo": patch.request(target, array.concat(
		patch.identity(_deployment),
		_replicas(state.target_replicas, state.current_replicas),
	)),
}]

_replicas(from, to) := [
	{"op": "test", "path": "/spec/replicas", "value": from},
	{"op": "replace", "path": "/spec/replicas", "value": to},
]

# METADATA
# description: What is reported. The old number comes from the recorded way back, as the Deployment itself has forgotten it.
result := outcomes.result(postconditions, holds, [outcomes.changed(target, "scale")], {"scaleResult": {
	"previousReplicas": input.attempt.operations[0].undo.body[2].value,
	"newReplicas": state.current_replicas,
	"scaledNamespace": target.namespace,
	"scaledDeployment": target.name,
}})
