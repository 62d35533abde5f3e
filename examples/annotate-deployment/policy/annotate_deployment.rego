# METADATA
# title: Annotate a Deployment
# description: |
#   Sets one annotation of a Deployment. The recorded way back restores the old value, or takes the annotation out again.
# custom:
#   reversible: true
#   example:
#     action: annotate-deployment
#     parameters:
#       custom:
#         actionType: annotate_deployment
#         config: {deployment: web, annotation: example.com/on-call, value: ann}
package kubernaut.actions.annotate_deployment

import data.kubernaut.lib.outcomes
import data.kubernaut.lib.parameters
import data.kubernaut.lib.patch

member := "custom"

service_account := "annotate-deployment-sa"

executor := "api"

timeout_seconds := 60

estimated_seconds := 5

reversible := true

permissions := [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]}]

_wanted := input.step.parameters[member].config

# The CRD knows `config` as a map of strings only, so what must be in it is said here.
parameters_valid if {
	is_object(target)
	input.step.parameters[member].actionType == "annotate_deployment"
	object.keys(_wanted) - {"namespace", "deployment", "annotation", "value"} == set()
	regex.match(`^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`, _wanted.annotation)
	count([domain | some domain in _foreign; contains(_wanted.annotation, domain)]) == 0
	is_string(_wanted.value)
}

# Annotations that mean something to the cluster, or to phasegate, are not a team's to write.
_foreign := {"kubernetes.io/", "k8s.io/", "kubernaut.ai/"}

target := parameters.named({
	"apiVersion": "apps/v1",
	"kind": "Deployment",
	"namespace": parameters.namespace(_wanted),
	"name": _wanted.deployment,
})

facts contains object.union(target, {"id": "deployment", "verb": "get"})

_deployment := input.facts.deployment.object

_present := object.get(_deployment, ["metadata", "annotations", _wanted.annotation], null)

state["deployment_found"] if input.facts.deployment.found == true

state["namespace"] := target.namespace

state["annotation"] := _wanted.annotation

state["value"] := _present if is_string(_present)

preconditions := {"deployment_exists": {
	"required": true,
	"timeout": "10s",
	"message": "the Deployment to annotate must exist",
	"remedy": "check the namespace and the name in the step's parameters",
}}

postconditions := {"annotation_written": {
	"required": true,
	"timeout": "30s",
	"message": "the annotation must have its new value",
	"remedy": "someone else may be writing the same annotation",
}}

holds contains "deployment_exists" if state.deployment_found

holds contains "annotation_written" if state.value == _wanted.value

# Both ways from one reading: the way there tests the object, its generation and the old value, the way back the object and the new one.
operations := [patch.operation(
	target, _deployment,
	object.union(_deployment, {"metadata": {"annotations": {_wanted.annotation: _wanted.value}}}),
)]

result := outcomes.result(
	postconditions, holds, [outcomes.changed(target, "update")],
	outcomes.updated(target, "config", patch.former(_sent), patch.present(_sent)),
)

_sent := input.attempt.operations[0].undo
