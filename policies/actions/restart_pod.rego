# METADATA
# title: Restart pods
# description: |
#   Deletes one pod, or all that a label selector matches (a hundred at most), and waits until their controllers have ready ones in their
#   place. Only pods that a ReplicaSet, StatefulSet or DaemonSet owns: others would not come back. The selector must say what the pods
#   have (`app=web`, `tier in (web, api)`, `app`): one that only says what they lack (`!app`, `app!=web`, `app notin (web)`) is refused, as
#   it matches nearly every pod of the namespace.
# custom:
#   reversible: a deleted pod does not come back; its controller makes another
#   example:
#     action: restart-pod
#     parameters:
#       restartPod: {namespace: shop, podName: web-7d4b9c-x2x7k}
package kubernaut.actions.restart_pod

import data.kubernaut.lib.outcomes
import data.kubernaut.lib.parameters
import data.kubernaut.lib.workloads

member := "restartPod"

service_account := "restart-pod-sa"

executor := "api"

timeout_seconds := 300

estimated_seconds := 20

reversible := false

irreversible_reason := "a deleted pod does not come back; its controller makes another"

permissions := [
	{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "delete"]},
	{"apiGroups": ["apps"], "resources": ["replicasets", "statefulsets", "daemonsets"], "verbs": ["get"]},
]

_wanted := input.step.parameters[member]

_pod_name := object.get(_wanted, "podName", "")

_selector := object.get(_wanted, "selector", "")

parameters_valid if {
	parameters.object_name(target.namespace)
	parameters.object_name(_pod_name)
	_grace_valid
}

# Never all pods of a namespace: an empty name needs a selector, and that a term which a pod without labels does not meet.
parameters_valid if {
	parameters.object_name(target.namespace)
	_pod_name == ""
	_grace_valid
	some term in _terms
	regex.match(_positive, term)
}

# The terms of the selector, with what stands in brackets left out.
_terms := [trim_space(term) | some term in split(regex.replace(_selector, `\([^()]*\)`, "()"), ",")]

# `key`, `key=value`, `key==value` and `key in (…)`. The server judges the rest of the form.
_positive := `^[A-Za-z0-9][-A-Za-z0-9_./]*(\s*==?\s*[-A-Za-z0-9_.]*|\s+in\s*\(\))?$`

_grace_valid if parameters.seconds(object.get(_wanted, "gracePeriod", 0)) >= 0

# Without a name the target is every pod that the selector matches.
target := object.union(
	{"apiVersion": "v1", "kind": "Pod", "namespace": namespace},
	{"name": _pod_name | _pod_name != ""},
) if {
	namespace := parameters.namespace(_wanted)
	parameters.object_name(namespace)
	is_string(_pod_name)
}

facts contains object.union(target, {"id": "pod", "verb": "get"}) if {
	input.gate == "action"
	_pod_name != ""
	parameters_valid
}

facts contains {
	"id": "pods",
	"verb": "list",
	"apiVersion": "v1",
	"kind": "Pod",
	"namespace": target.namespace,
	"labelSelector": _selector,
	"limit": 100,
} if {
	input.gate == "action"
	_pod_name == ""
	parameters_valid
}

# Afterwards it is the owners that count, and the pods that they have now.
facts contains {
	"id": sprintf("owner/%s/%s", [owner.kind, owner.name]),
	"verb": "get",
	"apiVersion": "apps/v1",
	"kind": owner.kind,
	"namespace": target.namespace,
	"name": owner.name,
} if {
	input.gate == "verify"
	some owner in _owners
}

facts contains {
	"id": sprintf("pods/%s/%s", [owner.kind, owner.name]),
	"verb": "list",
	"apiVersion": "v1",
	"kind": "Pod",
	"namespace": target.namespace,
	"labelSelector": workloads.selector(_owner_fact(owner).object),
	"limit": 1000,
} if {
	input.gate == "verify"
	some owner in _owners
}

_owner_fact(owner) := input.facts[sprintf("owner/%s/%s", [owner.kind, owner.name])]

_pods_fact(owner) := input.facts[sprintf("pods/%s/%s", [owner.kind, owner.name])]

_found := [input.facts.pod.object] if {
	input.facts.pod.object.metadata.name == _pod_name
} else := [pod | some pod in input.facts.pods.items; _pod_name == ""]

# A pod that is on its way out already needs no second request.
_doomed := [pod | some pod in _found; object.get(pod.metadata, "deletionTimestamp", "") == ""]

_owned := [pod | some pod in _doomed; count(_controllers(pod)) == 1]

# They bring a pod back.
_kinds := {"ReplicaSet", "StatefulSet", "DaemonSet"}

_controllers(pod) := [owner |
	some owner in pod.metadata.ownerReferences
	owner.controller == true
	owner.kind in _kinds
]

# The owners as they were recorded with the operations: the pods that named them are gone.
_owners contains owner if {
	some operation in input.attempt.operations
	some owner in operation.do.body.metadata.ownerReferences
	owner.kind in _kinds
	parameters.object_name(owner.name)
}

_deleted contains operation.do.uid if some operation in input.attempt.operations

state["pods_found"] := count(_doomed)

state["pods_owned"] := count(_owned)

state["selection_truncated"] := input.facts.pods.truncated if _pod_name == ""

state["selection_truncated"] := false if parameters.object_name(_pod_name)

state["namespace"] := target.namespace

state["pods_left"] := count([pod |
	some owner in _owners
	some pod in _pods_fact(owner).items
	pod.metadata.uid in _deleted
])

state["owners"] := count(_owners)

state["owners_whole"] := count([owner |
	some owner in _owners
	ready := [pod |
		some pod in _pods_fact(owner).items
		some reference in pod.metadata.ownerReferences
		reference.uid == owner.uid
		workloads.pod_ready(pod)
	]
	count(ready) >= _desired(_owner_fact(owner).object)
])

_desired(owner) := owner.spec.replicas if owner.kind != "DaemonSet"

_desired(owner) := owner.status.desiredNumberScheduled if owner.kind == "DaemonSet"

preconditions := {
	"pod_exists": {
		"required": true,
		"timeout": "10s",
		"message": "a pod with this name, or one that the selector matches, must exist",
		"remedy": "kubectl get pods --show-labels",
	},
	"selection_complete": {
		"required": true,
		"timeout": "5s",
		"message": "the selector must match a hundred pods at most",
		"remedy": "narrow the selector, or restart the workload instead",
	},
	"pods_have_controller": {
		"required": true,
		"timeout": "5s",
		"message": "a ReplicaSet, StatefulSet or DaemonSet must own every pod, or it would not come back",
		"remedy": "leave out pods that nothing owns",
	},
}

postconditions := {
	"pods_replaced": {
		"required": true,
		"timeout": "5m",
		"message": "the deleted pods must be gone",
		"remedy": "a finalizer or an unreachable node may hold a pod",
	},
	"replacements_ready": {
		"required": true,
		"timeout": "5m",
		"message": "the owners of the deleted pods must have all their pods ready",
		"remedy": "look at the new pods' events: they may lack room, an image or a passing readiness probe",
	},
}

holds contains "pod_exists" if state.pods_found > 0

holds contains "selection_complete" if state.selection_truncated == false

holds contains "pods_have_controller" if {
	state.pods_found > 0
	state.pods_owned == state.pods_found
}

holds contains "pods_replaced" if {
	_owners_answered
	state.pods_left == 0
}

holds contains "replacements_ready" if {
	state.owners > 0
	state.owners_whole == state.owners
}

_owners_answered if {
	state.owners > 0
	every owner in _owners {
		is_array(_pods_fact(owner).items)
	}
}

# The body of a deletion is not sent: it is the record of who will bring the pod back.
operations := [{"do": request, "undo": null} |
	some name in sort({pod.metadata.name | some pod in _doomed})
	some pod in _doomed
	pod.metadata.name == name
	request := object.union(
		{
			"verb": "delete",
			"apiVersion": "v1",
			"kind": "Pod",
			"namespace": target.namespace,
			"name": name,
			"uid": pod.metadata.uid,
			"body": {"metadata": {"ownerReferences": _controllers(pod)}},
		},
		{"gracePeriodSeconds": seconds | seconds := parameters.seconds(_wanted.gracePeriod)},
	)
]

_names := [operation.do.name | some operation in input.attempt.operations]

result := outcomes.result(
	postconditions, holds,
	[outcomes.changed(object.union(target, {"name": name}), "delete") | some name in _names],
	{"restartResult": {
		"podsRestarted": count(_names),
		"restartedPods": _names,
		"namespace": target.namespace,
	}},
)
