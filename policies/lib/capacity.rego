# METADATA
# title: Capacity
# description: What nodes can take and what pods ask for. A quantity that cannot be read makes the whole sum undefined, never smaller.
package kubernaut.lib.capacity

# METADATA
# description: The nodes that take pods of this spec, which are ready, schedulable and without a taint that the spec does not tolerate.
usable(nodes, spec) := [node |
	some node in nodes
	object.get(node.spec, "unschedulable", false) == false
	some condition in node.status.conditions
	condition.type == "Ready"
	condition.status == "True"
	every taint in object.get(node.spec, "taints", []) {
		_harmless(taint, object.get(spec, "tolerations", []))
	}
]

# METADATA
# description: The nodes that carry every label that the spec selects.
selected(nodes, spec) := [node |
	some node in nodes
	every key, value in object.get(spec, "nodeSelector", {}) {
		node.metadata.labels[key] == value
	}
]

# METADATA
# description: How much of a resource the nodes have for pods.
allocatable(nodes, resource) := _sum([node.status.allocatable[resource] | some node in nodes], count(nodes))

# METADATA
# description: How much of a resource the pods on these nodes have asked for.
claimed(pods, nodes, resource) := total if {
	names := {node.metadata.name | some node in nodes}
	there := [pod.spec | some pod in pods; pod.spec.nodeName in names]
	claims := [requested(spec, resource) | some spec in there]
	count(claims) == count(there)
	total := sum(claims)
}

# METADATA
# description: |
#   How much of a resource one pod asks for: its containers with the sidecars that run beside them, or the largest of the other init
#   containers with all sidecars (of which some may start only later), whichever is more; and what its runtime class adds.
requested(spec, resource) := max({running, starting}) + _overhead(spec, resource) if {
	inits := object.get(spec, "initContainers", [])
	sidecars := [container | some container in inits; container.restartPolicy == "Always"]
	others := [container | some container in inits; object.get(container, "restartPolicy", "") != "Always"]
	beside := _requests(sidecars, resource)
	running := _requests(spec.containers, resource) + beside
	starting := _largest(others, resource) + beside
}

_overhead(spec, resource) := units.parse(object.get(spec, ["overhead", resource], "0"))

_requests(containers, resource) := _sum(quantities, count(quantities)) if {
	quantities := [container.resources.requests[resource] | some container in containers]
}

_largest(containers, resource) := max(array.concat([0], amounts)) if {
	quantities := [container.resources.requests[resource] | some container in containers]
	amounts := [units.parse(quantity) | some quantity in quantities]
	count(amounts) == count(quantities)
}

_sum(quantities, expected) := sum(amounts) if {
	amounts := [units.parse(quantity) | some quantity in quantities]
	count(amounts) == expected
}

_harmless(taint, _) if taint.effect == "PreferNoSchedule"

_harmless(taint, tolerations) if {
	some toleration in tolerations
	object.get(toleration, "effect", taint.effect) in {taint.effect, ""}
	_tolerates(toleration, taint)
}

_tolerates(toleration, taint) if {
	object.get(toleration, "operator", "Equal") == "Equal"
	toleration.key == taint.key
	object.get(toleration, "value", "") == object.get(taint, "value", "")
}

_tolerates(toleration, taint) if {
	toleration.operator == "Exists"
	object.get(toleration, "key", taint.key) in {taint.key, ""}
}
