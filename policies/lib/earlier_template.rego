# METADATA
# title: The earlier template of a Deployment
# description: |
#   What rollback-deployment and restore-previous-deployment do, each for parameters of its own: they put the pod template of an earlier
#   revision back, the one that is named or the latest before the current one (revision 0), and wait until it is rolled out.
package kubernaut.lib.earlier_template

import data.kubernaut.lib.outcomes
import data.kubernaut.lib.parameters
import data.kubernaut.lib.patch
import data.kubernaut.lib.revisions
import data.kubernaut.lib.workloads

_wanted := input.step.parameters.rollbackDeployment if input.step.action == "rollback_deployment"

_wanted := input.step.parameters.restorePreviousDeployment if input.step.action == "restore_previous_deployment"

# METADATA
# description: What the CRD schema cannot say.
parameters_valid if {
	is_object(target)
	parameters.whole(_revision, 0, 1000000000)
}

_revision := object.get(_wanted, "revision", 0)

# METADATA
# description: The Deployment.
target := parameters.named({
	"apiVersion": "apps/v1",
	"kind": "Deployment",
	"namespace": parameters.namespace(_wanted),
	"name": _wanted.deployment,
})

# METADATA
# description: The Deployment, before the change its ReplicaSets, afterwards its pods.
# scope: document
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

# METADATA
# description: The flat document that conditions and team rules see.
state := object.union_n([
	{"deployment_found": true | input.facts.deployment.found == true},
	{"deployment_name": name | name := target.name},
	{"namespace": namespace | namespace := target.namespace},
	{"replicas": replicas | replicas := _deployment.spec.replicas},
	{"paused": paused | paused := object.get(_deployment.spec, "paused", false)},
	{"crashlooping_pods": pods | pods := count(workloads.waiting(input.facts.pods.items, {"CrashLoopBackOff"}))},
	{"current_revision": revision | revision := revisions.current(_deployment)},
	{"wanted_revision": revision | revision := revisions.meant(_deployment, input.facts.replicasets.items, _revision)},
])

# METADATA
# description: What must be true before.
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

# METADATA
# description: What must be true afterwards.
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

# METADATA
# description: The proofs of the conditions.
# scope: document
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

# METADATA
# description: One patch of the template, and its way back.
operations := [patch.operation(target, _deployment, json.patch(
	_deployment,
	[{"op": "replace", "path": "/spec/template", "value": _template}],
))]

# METADATA
# description: What is reported.
result := outcomes.result(
	postconditions, holds, [outcomes.changed(target, "update")],
	outcomes.updated(target, "spec", patch.former(_sent), patch.present(_sent)),
)

_sent := input.attempt.operations[0].undo
