# METADATA
# title: Restart a Deployment
# description: |
#   Replaces all pods of a Deployment, a few at a time, as its rollout strategy says. The pod template is marked with the attempt's own uid,
#   so a repeated request restarts nothing twice. Taking it back removes the mark, which rolls out the earlier template.
# custom:
#   reversible: true
#   example:
#     action: restart-deployment
#     parameters:
#       restartDeployment: {namespace: shop, deployment: web}
package kubernaut.actions.restart_deployment

import data.kubernaut.lib.outcomes
import data.kubernaut.lib.parameters
import data.kubernaut.lib.patch
import data.kubernaut.lib.workloads

member := "restartDeployment"

service_account := "restart-deployment-sa"

executor := "api"

timeout_seconds := 600

estimated_seconds := 60

reversible := true

permissions := [
	{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]},
	{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
]

_wanted := input.step.parameters[member]

parameters_valid if {
	is_object(target)
	parameters.seconds(object.get(_wanted, "gracePeriod", 0)) >= 0
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

state["deployment_found"] if input.facts.deployment.found == true

state["deployment_name"] := target.name

state["namespace"] := target.namespace

state["replicas"] := _deployment.spec.replicas

state["paused"] := object.get(_deployment.spec, "paused", false)

state["crashlooping_pods"] := count(workloads.waiting(input.facts.pods.items, {"CrashLoopBackOff"}))

state["grace_seconds"] := _deployment.spec.template.spec.terminationGracePeriodSeconds

state["wanted_grace_seconds"] := parameters.seconds(_wanted.gracePeriod)

preconditions := {
	"deployment_exists": {
		"required": true,
		"timeout": "10s",
		"message": "the Deployment must exist",
		"remedy": "check the namespace and the name in the step's parameters",
	},
	"deployment_not_paused": {
		"required": true,
		"timeout": "10s",
		"message": "the Deployment must not be paused, or nothing would roll out",
		"remedy": "kubectl rollout resume",
	},
	"grace_period_matches": {
		"required": false,
		"timeout": "5s",
		"message": "a rollout ends pods with the grace period of their own template; the step's gracePeriod has no effect",
	},
}

postconditions := {
	"rollout_complete": {
		"required": true,
		"timeout": "5m",
		"message": "every replica must be new and available, and no old one left",
		"remedy": "look at the pods' events: they may lack room, an image or a passing readiness probe",
	},
	"deployment_health_check": {
		"required": true,
		"timeout": "5m",
		"message": "the Deployment must be available, progressing and without replica failures",
	},
	"no_crashloop_pods": {
		"required": true,
		"timeout": "5m",
		"message": "no container may be in CrashLoopBackOff",
	},
}

holds contains "deployment_exists" if state.deployment_found

holds contains "deployment_not_paused" if state.paused == false

holds contains "grace_period_matches" if {
	state.grace_seconds == object.get(state, "wanted_grace_seconds", state.grace_seconds)
}

holds contains "rollout_complete" if {
	_landed
	workloads.rolled_out(_deployment)
}

holds contains "deployment_health_check" if workloads.deployment_healthy(_deployment)

holds contains "no_crashloop_pods" if state.crashlooping_pods == 0

_landed if patch.landed(_deployment, input.attempt.operations[0].undo)

operations := [patch.operation(target, _deployment, object.union(
	_deployment,
	{"spec": {"template": {"metadata": {"annotations": {"kubernaut.ai/restarted-by": _mark}}}}},
))]

# Never a timestamp: a repeated request must mean the same restart.
_mark := object.get(input, ["attempt", "uid"], "dry-run")

_restarted := sort([pod.metadata.name |
	some pod in input.facts.pods.items
	pod.metadata.annotations["kubernaut.ai/restarted-by"] == _mark
])

result := outcomes.result(postconditions, holds, [outcomes.changed(target, "update")], {"restartResult": {
	"podsRestarted": count(_restarted),
	"restartedPods": array.slice(_restarted, 0, 100),
	"namespace": target.namespace,
}})
