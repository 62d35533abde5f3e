# METADATA
# title: Scale a Deployment back
# description: |
#   Sets the number of replicas that a Deployment had before a step scaled it. Meant for a step's rollbackSpec. Without previousReplicas
#   the number is taken from what the step recorded (input.recorded).
# custom:
#   reversible: true
#   example:
#     rollbackSpec:
#       action: scale-to-previous
#       parameters:
#         scaleToPrevious: {namespace: shop, deployment: web, previousReplicas: 3}
package kubernaut.actions.scale_to_previous

import data.kubernaut.lib.outcomes
import data.kubernaut.lib.parameters
import data.kubernaut.lib.patch
import data.kubernaut.lib.workloads

member := "scaleToPrevious"

service_account := "scale-to-previous-sa"

executor := "api"

timeout_seconds := 300

estimated_seconds := 30

reversible := true

permissions := [
	{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]},
	{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
]

_wanted := input.step.parameters[member]

parameters_valid if {
	is_object(target)
	parameters.whole(object.get(_wanted, "previousReplicas", 0), 0, 10000)
}

target := parameters.named({
	"apiVersion": "apps/v1",
	"kind": "Deployment",
	"namespace": parameters.namespace(_wanted),
	"name": _wanted.deployment,
})

facts contains object.union(target, {"id": "deployment", "verb": "get"})

facts contains {
	"id": "pods",
	"verb": "list",
	"apiVersion": "v1",
	"kind": "Pod",
	"namespace": target.namespace,
	"labelSelector": workloads.selector(_deployment),
	"limit": 1000,
} if {
	input.gate == "verify"
}

_deployment := input.facts.deployment.object

# The step's own record of the way back; it says what the number was when the step began.
_recorded := [entry.value |
	some operation in input.recorded
	operation.undo.kind == "Deployment"
	operation.undo.namespace == target.namespace
	operation.undo.name == target.name
	some entry in operation.undo.body
	entry.op == "replace"
	entry.path == "/spec/replicas"
]

_previous := number if {
	number := _wanted.previousReplicas
} else := _recorded[0]

state["deployment_found"] if input.facts.deployment.found == true

state["deployment_name"] := target.name

state["namespace"] := target.namespace

state["current_replicas"] := _deployment.spec.replicas

state["target_replicas"] := _previous

state["crashlooping_pods"] := count(workloads.waiting(input.facts.pods.items, {"CrashLoopBackOff"}))

preconditions := {
	"deployment_exists": {
		"required": true,
		"timeout": "10s",
		"message": "the Deployment to scale back must exist",
		"remedy": "check the namespace and the name in the step's rollbackSpec",
	},
	"previous_replicas_known": {
		"required": true,
		"timeout": "5s",
		"message": "the earlier number of replicas must be given, or recorded by the step",
		"remedy": "set previousReplicas in the step's rollbackSpec",
	},
}

postconditions := {
	"desired_replicas_running": {
		"required": true,
		"timeout": "2m",
		"message": "exactly the earlier replicas must be available, none of them old",
		"remedy": "look at the pods' events: they may lack room, an image or a passing readiness probe",
	},
	"no_crashloop_pods": {
		"required": true,
		"timeout": "2m",
		"message": "no container may be in CrashLoopBackOff",
	},
}

holds contains "deployment_exists" if state.deployment_found

holds contains "previous_replicas_known" if is_number(state.target_replicas)

holds contains "desired_replicas_running" if {
	state.current_replicas == _reached
	workloads.rolled_out(_deployment)
}

holds contains "no_crashloop_pods" if state.crashlooping_pods == 0

# What was written is what counts, also where the step's record is no longer at hand.
_reached := input.attempt.operations[0].do.body[3].value

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

result := outcomes.result(postconditions, holds, [outcomes.changed(target, "scale")], {"scaleResult": {
	"previousReplicas": input.attempt.operations[0].undo.body[2].value,
	"newReplicas": state.current_replicas,
	"scaledNamespace": target.namespace,
	"scaledDeployment": target.name,
}})
