# METADATA
# title: Restore the earlier Deployment
# description: |
#   Puts the pod template of the revision before the current one (or of a named one) back. Meant for a step's rollbackSpec, where the step
#   itself has made the current revision.
# custom:
#   reversible: true
#   example:
#     rollbackSpec:
#       action: restore-previous-deployment
#       parameters:
#         restorePreviousDeployment: {namespace: shop, deployment: web}
package kubernaut.actions.restore_previous_deployment

import data.kubernaut.lib.outcomes
import data.kubernaut.lib.parameters
import data.kubernaut.lib.patch
import data.kubernaut.lib.revisions
import data.kubernaut.lib.workloads

member := "restorePreviousDeployment"

service_account := "restore-previous-deployment-sa"

executor := "api"

timeout_seconds := 600

estimated_seconds := 60

reversible := true

permissions := [
	{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]},
	{"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["list"]},
	{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
]

_wanted := input.step.parameters[member]

parameters_valid if {
	is_object(target)
	parameters.whole(_revision, 0, 1000000000)
}

_revision := object.get(_wanted, "revision", 0)

target := parameters.named({
	"apiVersion": "apps/v1",
	"kind": "Deployment",
	"namespace": parameters.namespace(_wanted),
	"name": _wanted.deployment,
})

facts contains object.union(target, {"id": "deployment", "verb": "get"})

facts contains {
	"id": "replicasets",
	"verb": "list",
	"apiVersion": "apps/v1",
	"kind": "ReplicaSet",
	"namespace": target.namespace,
	"labelSelector": workloads.selector(_deployment),
	"limit": 100,
} if {
	input.gate == "action"
}

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

state["current_revision"] := revisions.current(_deployment)

state["wanted_revision"] := revisions.meant(_deployment, input.facts.replicasets.items, _revision)

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
	"revision_exists": {
		"required": true,
		"timeout": "10s",
		"message": "exactly one ReplicaSet of the Deployment must hold the wanted revision",
		"remedy": "kubectl rollout history lists the revisions that are kept",
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

holds contains "revision_exists" if is_object(_template)

holds contains "rollout_complete" if {
	_landed
	workloads.rolled_out(_deployment)
}

holds contains "deployment_health_check" if workloads.deployment_healthy(_deployment)

holds contains "no_crashloop_pods" if state.crashlooping_pods == 0

_landed if patch.landed(_deployment, input.attempt.operations[0].undo)

_template := revisions.template(_deployment, input.facts.replicasets.items, state.wanted_revision)

operations := [patch.operation(target, _deployment, json.patch(
	_deployment,
	[{"op": "replace", "path": "/spec/template", "value": _template}],
))]

result := outcomes.result(
	postconditions, holds, [outcomes.changed(target, "update")],
	outcomes.updated(target, "spec", patch.former(_sent), patch.present(_sent)),
)

_sent := input.attempt.operations[0].undo
