# METADATA
# title: Patch an object
# description: |
#   Changes an object by a strategic, merge, JSON or apply patch that the author wrote. The API server first says what would result
#   (`preview`); the way back is made from that and the object as it was: it restores every field that the patch changes, and no other.
#   Status, names, owners, finalizers, Secrets and permissions cannot be patched, whatever the patch is written as: a directive such as
#   `$patch` at the top level or directly below metadata is refused, and so is a patch whose preview has other owners or finalizers.
# custom:
#   reversible: true
#   example:
#     action: patch-resource
#     parameters:
#       patchResource:
#         apiVersion: apps/v1
#         kind: Deployment
#         namespace: shop
#         name: web
#         patch: {spec: {minReadySeconds: 10}}
package kubernaut.actions.patch_resource

import data.kubernaut.lib.outcomes
import data.kubernaut.lib.parameters
import data.kubernaut.lib.patch
import data.kubernaut.lib.workloads

member := "patchResource"

service_account := "patch-resource-sa"

executor := "api"

timeout_seconds := 300

estimated_seconds := 30

reversible := true

# METADATA
# description: The kinds that may be patched, by API version.
kinds := {
	"apps/v1": {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"},
	"autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
	"batch/v1": {"CronJob": "cronjobs", "Job": "jobs"},
	"networking.k8s.io/v1": {"Ingress": "ingresses", "NetworkPolicy": "networkpolicies"},
	"policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
	"v1": {"ConfigMap": "configmaps", "PersistentVolumeClaim": "persistentvolumeclaims", "Pod": "pods", "Service": "services"},
}

permissions := [
	{"apiGroups": ["apps"], "resources": ["daemonsets", "deployments", "statefulsets"], "verbs": ["get", "patch"]},
	{"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": ["get", "patch"]},
	{"apiGroups": ["batch"], "resources": ["cronjobs", "jobs"], "verbs": ["get", "patch"]},
	{"apiGroups": ["networking.k8s.io"], "resources": ["ingresses", "networkpolicies"], "verbs": ["get", "patch"]},
	{"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": ["get", "patch"]},
	{
		"apiGroups": [""],
		"resources": ["configmaps", "persistentvolumeclaims", "pods", "services"],
		"verbs": ["get", "patch"],
	},
	{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
]

_wanted := input.step.parameters[member]

# All kinds of the table have a strategic form.
_type := object.get(_wanted, "patchType", "strategic")

parameters_valid if {
	is_string(kinds[target.apiVersion][target.kind])
	is_object(target)
	_patch_allowed
}

_patch_allowed if {
	_type in {"strategic", "merge", "apply"}
	is_object(_wanted.patch)
	object.get(_wanted.patch, "kind", target.kind) == target.kind
	object.get(_wanted.patch, "apiVersion", target.apiVersion) == target.apiVersion
	every key, _ in _wanted.patch {
		_field_allowed(key)
	}
	every key, value in object.get(_wanted.patch, "metadata", {}) {
		_metadata_allowed(key, value)
	}
}

_patch_allowed if {
	_type == "json"
	count(_entries) > 0
	every entry in _entries {
		entry.op in {"add", "remove", "replace", "test", "move", "copy"}
		_pointer_allowed(entry.path)
		_pointer_allowed(object.get(entry, "from", entry.path))
	}
}

# A directive of the strategic form, as `$patch: replace`, would write the object anew, without its finalizers and owners.
_field_allowed(key) if {
	key != "status"
	startswith(key, "$") == false
}

# No directives here either.
_metadata_allowed(key, value) if {
	key in {"labels", "annotations"}
	is_object(value)
}

_metadata_allowed("name", value) if value == target.name

_metadata_allowed("namespace", value) if value == target.namespace

_pointer_allowed(pointer) if regex.match(`^/(metadata/(labels|annotations)|spec|data|binaryData|immutable)(/|$)`, pointer)

_entries := _wanted.patch if is_array(_wanted.patch)

target := parameters.named({
	"apiVersion": _wanted.apiVersion,
	"kind": _wanted.kind,
	"namespace": parameters.namespace(_wanted),
	"name": _wanted.name,
})

facts contains object.union(target, {"id": "object", "verb": "get"}) if parameters_valid

# Optional, because a patch that the server refuses is an answer: `patch_accepted` then says so.
facts contains {"id": "preview", "verb": "preview", "request": _request, "optional": true} if {
	input.gate == "action"
	parameters_valid
}

facts contains {
	"id": "pods",
	"verb": "list",
	"apiVersion": "v1",
	"kind": "Pod",
	"namespace": target.namespace,
	"labelSelector": workloads.selector(_object),
	"limit": 1000,
} if {
	input.gate == "verify"
	_is_workload
}

_object := input.facts.object.object

_preview := input.facts.preview.object

_is_workload if target.kind in {"Deployment", "StatefulSet", "DaemonSet"}

_request := patch.request(target, array.concat(patch.guards(_object), _entries)) if _type == "json"

_request := object.union(target, {"verb": "patch", "patchType": _type, "body": object.union(_wanted.patch, _guard)}) if {
	_type in {"strategic", "merge"}
}

_request := object.union(target, {
	"verb": "patch",
	"patchType": "apply",
	"body": object.union_n([
		_wanted.patch,
		{"apiVersion": target.apiVersion, "kind": target.kind},
		{"metadata": {"name": target.name, "namespace": target.namespace}},
		_guard,
	]),
}) if {
	_type == "apply"
}

# The server refuses the patch when the object is another, or has moved on.
_guard := {"metadata": {"uid": _object.metadata.uid, "resourceVersion": _object.metadata.resourceVersion}}

state["object_found"] if input.facts.object.found == true

state["kind"] := target.kind

state["name"] := target.name

state["namespace"] := target.namespace

state["preview_found"] if input.facts.preview.found == true

state["crashlooping_pods"] := count(workloads.waiting(input.facts.pods.items, {"CrashLoopBackOff"}))

preconditions := {
	"object_exists": {
		"required": true,
		"timeout": "10s",
		"message": "the object must exist",
		"remedy": "check kind, namespace and name in the step's parameters",
	},
	"patch_accepted": {
		"required": true,
		"timeout": "10s",
		"message": "the API server must accept the patch in a dry-run, and finalizers and owners must stay as they are",
		"remedy": "try it by hand with kubectl patch --dry-run=server",
	},
}

postconditions := {
	"patch_applied": {
		"required": true,
		"timeout": "30s",
		"message": "the object must have the values that the patch brought",
		"remedy": "a controller or someone else may be writing the same fields",
	},
	"rollout_complete": {
		"required": true,
		"timeout": "5m",
		"message": "a workload must have rolled the change out to every replica",
		"remedy": "look at the pods' events: they may lack room, an image or a passing readiness probe",
	},
	"no_crashloop_pods": {
		"required": true,
		"timeout": "5m",
		"message": "no container of a workload may be in CrashLoopBackOff",
	},
}

holds contains "object_exists" if state.object_found

holds contains "patch_accepted" if {
	state.preview_found
	_preview.metadata.uid == _object.metadata.uid
	every field in ["finalizers", "ownerReferences"] {
		object.get(_preview.metadata, field, []) == object.get(_object.metadata, field, [])
	}
}

holds contains "patch_applied" if patch.landed(_object, _sent)

holds contains "rollout_complete" if _settles_at_once

holds contains "rollout_complete" if workloads.rolled_out(_object)

holds contains "no_crashloop_pods" if _settles_at_once

holds contains "no_crashloop_pods" if state.crashlooping_pods == 0

_settles_at_once if {
	is_string(target.kind)
	not _is_workload
}

operations := [{"do": _request, "undo": patch.undo(target, _object, _preview)}]

_sent := input.attempt.operations[0].undo

result := outcomes.result(
	postconditions, holds, [outcomes.changed(target, "update")],
	outcomes.updated(target, "spec", patch.former(_sent), patch.present(_sent)),
)
