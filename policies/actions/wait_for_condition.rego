# METADATA
# title: Wait for a condition
# description: |
#   Changes nothing. Waits until an object reports a condition in status.conditions, for its latest generation. The object may come into
#   being meanwhile.
# custom:
#   reversible: true
#   example:
#     action: wait-for-condition
#     parameters:
#       waitForCondition: {apiVersion: batch/v1, kind: Job, namespace: shop, name: migrate, condition: Complete, timeout: 3m}
package kubernaut.actions.wait_for_condition

import data.kubernaut.lib.outcomes
import data.kubernaut.lib.parameters

member := "waitForCondition"

service_account := "wait-for-condition-sa"

executor := "api"

# METADATA
# description: The step's own patience, and some more for the first and the last look.
timeout_seconds := parameters.seconds(_patience) + 30

estimated_seconds := 60

# There is nothing to take back.
reversible := true

no_operations := true

operations := []

# METADATA
# description: The kinds that report conditions, by API version.
kinds := {
	"apps/v1": {"Deployment": "deployments", "ReplicaSet": "replicasets", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"},
	"autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
	"batch/v1": {"Job": "jobs"},
	"policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
	"v1": {"Node": "nodes", "PersistentVolumeClaim": "persistentvolumeclaims", "Pod": "pods", "Service": "services"},
}

permissions := [
	{"apiGroups": ["apps"], "resources": ["daemonsets", "deployments", "replicasets", "statefulsets"], "verbs": ["get"]},
	{"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": ["get"]},
	{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get"]},
	{"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": ["get"]},
	{"apiGroups": [""], "resources": ["nodes", "persistentvolumeclaims", "pods", "services"], "verbs": ["get"]},
]

_wanted := input.step.parameters[member]

_status := object.get(_wanted, "status", "True")

parameters_valid if {
	is_string(kinds[target.apiVersion][target.kind])
	regex.match(`^[A-Za-z0-9][-A-Za-z0-9_./]*$`, _wanted.condition)
	_status in {"True", "False", "Unknown"}
	parameters.seconds(object.get(_wanted, "timeout", "5m")) > 0
}

target := parameters.named({
	"apiVersion": _wanted.apiVersion,
	"kind": _wanted.kind,
	"namespace": parameters.namespace(_wanted),
	"name": _wanted.name,
}) if {
	_wanted.kind != "Node"
}

target := parameters.named({"apiVersion": _wanted.apiVersion, "kind": "Node", "name": _wanted.name}) if _wanted.kind == "Node"

facts contains object.union(target, {"id": "object", "verb": "get"}) if {
	input.gate == "verify"
	parameters_valid
}

_object := input.facts.object.object

state["object_found"] if input.facts.object.found == true

state["wanted_status"] := _status

state["status"] := _reported[0].status

_reported := [condition |
	some condition in _object.status.conditions
	condition.type == _wanted.condition
]

# A status that the controller wrote before it saw the latest spec says nothing about it.
_latest if {
	generation := object.get(_object.metadata, "generation", 0)
	object.get(_object.status, "observedGeneration", generation) >= generation
	object.get(_reported[0], "observedGeneration", generation) >= generation
}

preconditions := {}

# METADATA
# description: The step's timeout is the condition's.
postconditions := {"condition_reached": {
	"required": true,
	"timeout": _patience,
	"message": "the object must report the condition with the wanted status",
	"remedy": "look at the object's status and events",
}}

default _patience := "5m"

_patience := _wanted.timeout if {
	parameters.seconds(_wanted.timeout) > 0
} else := input.step.timeout if {
	parameters.seconds(input.step.timeout) > 0
}

holds contains "condition_reached" if {
	_latest
	state.status == state.wanted_status
}

result := outcomes.result(postconditions, holds, [], {"customResult": {
	"actionType": "wait_for_condition",
	"output": {
		"target": sprintf("%s %s", [target.kind, target.name]),
		"condition": _wanted.condition,
		"status": sprintf("%v", [object.get(state, "status", "not reported")]),
	},
}})
