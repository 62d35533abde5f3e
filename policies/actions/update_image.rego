# METADATA
# title: Change a container's image
# description: |
#   Sets the image of one container (or init container) in the pod template of a Deployment. The container may be left unnamed where there
#   is only one. The patch tests the container's name beside its image, so a reordered list is never hit at the wrong place.
# custom:
#   reversible: true
#   example:
#     action: update-image
#     parameters:
#       updateImage: {namespace: shop, deployment: web, container: app, newImage: "registry.example/web:1.4.2"}
package kubernaut.actions.update_image

import data.kubernaut.lib.outcomes
import data.kubernaut.lib.parameters
import data.kubernaut.lib.patch
import data.kubernaut.lib.workloads

member := "updateImage"

service_account := "update-image-sa"

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
	is_string(_container)
	count(_wanted.newImage) <= 512
	regex.match(`^[A-Za-z0-9][A-Za-z0-9._:/@-]*$`, _wanted.newImage)
}

_container := object.get(_wanted, "container", "")

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

state["current_image"] := _place.image

state["wanted_image"] := _wanted.newImage

# Where the container stands. Names are unique over containers and init containers.
_place := places[0] if {
	places := [{"path": sprintf("/spec/template/spec/%s/%d", [list, i]), "name": container.name, "image": container.image} |
		some list in ["containers", "initContainers"]
		some i, container in _deployment.spec.template.spec[list]
		_meant(container, list)
	]
	count(places) == 1
}

_meant(container, _) if container.name == _container

_meant(_, "containers") if _container == ""

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
	"container_exists": {
		"required": true,
		"timeout": "10s",
		"message": "the pod template must have the container",
		"remedy": "name one of the template's containers in the step's parameters",
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

holds contains "container_exists" if is_string(state.current_image)

holds contains "rollout_complete" if {
	_landed
	workloads.rolled_out(_deployment)
}

holds contains "deployment_health_check" if workloads.deployment_healthy(_deployment)

holds contains "no_crashloop_pods" if state.crashlooping_pods == 0

unnecessary contains sprintf("%s runs %s already, in every pod", [state.deployment_name, state.current_image]) if {
	state.current_image == state.wanted_image
	workloads.rolled_out(_deployment)
	"deployment_health_check" in holds
}

_landed if patch.landed(_deployment, input.attempt.operations[0].undo)

operations := [{
	"do": patch.request(target, array.concat(
		patch.guards(_deployment),
		_image(state.current_image, state.wanted_image),
	)),
	"undo": patch.request(target, array.concat(
		patch.identity(_deployment),
		_image(state.wanted_image, state.current_image),
	)),
}]

_image(from, to) := [
	{"op": "test", "path": sprintf("%s/name", [_place.path]), "value": _place.name},
	{"op": "test", "path": sprintf("%s/image", [_place.path]), "value": from},
	{"op": "replace", "path": sprintf("%s/image", [_place.path]), "value": to},
]

result := outcomes.result(
	postconditions, holds, [outcomes.changed(target, "update")],
	outcomes.updated(target, "image", input.attempt.operations[0].undo.body[3].value, state.current_image),
)
