# METADATA
# title: Workloads
# description: What a Deployment, StatefulSet, DaemonSet or Pod says about how it is. A statement that cannot be proven is undefined.
package kubernaut.lib.workloads

# METADATA
# description: The label selector of a workload, as text for a list request. Undefined, never wider, when a part of it is not understood.
selector(workload) := concat(",", array.concat(labels, expressions)) if {
	wanted := object.get(workload.spec.selector, "matchExpressions", [])
	labels := sort([sprintf("%s=%s", [key, value]) | some key, value in object.get(workload.spec.selector, "matchLabels", {})])
	expressions := [_expression(expression) | some expression in wanted]
	count(expressions) == count(wanted)
}

_expression(expression) := sprintf("%s in (%s)", [expression.key, concat(",", expression.values)]) if expression.operator == "In"

_expression(expression) := sprintf("%s notin (%s)", [expression.key, concat(",", expression.values)]) if expression.operator == "NotIn"

_expression(expression) := expression.key if expression.operator == "Exists"

_expression(expression) := sprintf("!%s", [expression.key]) if expression.operator == "DoesNotExist"

# METADATA
# description: True when the controller has seen the latest spec, and every pod of it is available and no older one is left.
# scope: document
rolled_out(workload) if {
	workload.kind == "Deployment"
	_observed(workload)
	every field in ["replicas", "updatedReplicas", "availableReplicas"] {
		object.get(workload.status, field, 0) == workload.spec.replicas
	}
}

rolled_out(workload) if {
	workload.kind == "StatefulSet"
	_observed(workload)
	_revision_reached(workload)
	every field in ["replicas", "readyReplicas", "availableReplicas"] {
		object.get(workload.status, field, 0) == workload.spec.replicas
	}
}

rolled_out(workload) if {
	workload.kind == "DaemonSet"
	_observed(workload)
	every field in ["updatedNumberScheduled", "numberAvailable"] {
		object.get(workload.status, field, 0) == workload.status.desiredNumberScheduled
	}
}

_observed(workload) if workload.status.observedGeneration >= workload.metadata.generation

_revision_reached(workload) if workload.status.updateRevision == workload.status.currentRevision

# Pods of OnDelete and partitioned sets are not all meant to be new.
_revision_reached(workload) if workload.spec.updateStrategy.type == "OnDelete"

_revision_reached(workload) if workload.spec.updateStrategy.rollingUpdate.partition > 0

# METADATA
# description: The status of one condition, "Unknown" when it is not reported.
condition(resource, type) := concat("", [c.status | some c in resource.status.conditions; c.type == type]) if {
	count([1 | some c in resource.status.conditions; c.type == type]) == 1
} else := "Unknown"

# METADATA
# description: True when a Deployment is available, moves on, and fails to create no pod.
deployment_healthy(deployment) if {
	condition(deployment, "Available") == "True"
	condition(deployment, "Progressing") != "False"
	condition(deployment, "ReplicaFailure") != "True"
}

# METADATA
# description: True when a pod is ready and not on its way out.
pod_ready(pod) if {
	condition(pod, "Ready") == "True"
	object.get(pod.metadata, "deletionTimestamp", "") == ""
}

# METADATA
# description: The pods with a container that waits for one of the reasons.
waiting(pods, reasons) := {pod.metadata.name |
	some pod in pods
	some statuses in ["containerStatuses", "initContainerStatuses"]
	some container in pod.status[statuses]
	container.state.waiting.reason in reasons
}

# METADATA
# description: The pods that the node killed for memory, or threw out.
starved(pods) := {pod.metadata.name | some pod in pods; pod.status.reason == "Evicted"} | {pod.metadata.name |
	some pod in pods
	some container in pod.status.containerStatuses
	some state in ["state", "lastState"]
	container[state].terminated.reason == "OOMKilled"
}
