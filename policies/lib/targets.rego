# METADATA
# title: Targets
# description: Which object a step acts on, as its action says it, and whether a workflow may act there.
package kubernaut.lib.targets

# METADATA
# description: |
#   What an action sees of one step, where a gate looks at many. A small question of its own, because replacing a part of a large input
#   copies all of it, once for each step.
question(step) := object.union(object.filter(input, ["contract", "gate", "now", "workflow"]), {"step": step})

# METADATA
# description: The target of a step; undefined where its action cannot tell. Its `name` is missing where a selector stands for it.
of(step) := target if {
	target := _said(step)
	is_string(target.apiVersion)
	is_string(target.kind)
	is_string(object.get(target, "namespace", ""))
	is_string(object.get(target, "name", ""))
}

# Where the gate asks about this very step, what its action has already worked out is used.
_said(step) := target if {
	step == input.step
	target := data.kubernaut.actions[step.action].target
} else := target if {
	# regal ignore:with-outside-test-context
	target := data.kubernaut.actions[step.action].target with input as question(step)
}

# METADATA
# description: The same where the workflow may act there. Of other objects nothing is read, not even whether they exist.
reachable_of(step) := target if {
	target := of(step)
	reachable(object.get(target, "namespace", ""))
}

# METADATA
# description: A name for people and for ids of facts.
label(target) := trim_suffix(concat("/", [target.kind, object.get(target, "namespace", ""), object.get(target, "name", "")]), "/")

# METADATA
# description: Resources that live outside every namespace.
cluster_scoped := {
	"customresourcedefinitions",
	"namespaces",
	"nodes",
	"persistentvolumes",
	"priorityclasses",
	"storageclasses",
}

# METADATA
# scope: document
# description: True for workflows that may act outside their own namespace, and on cluster-scoped objects.
trusted if input.workflow.metadata.namespace == "kubernaut-system"

trusted if input.workflow.metadata.namespace in data.kubernaut.settings["trusted-namespaces"]

# METADATA
# scope: document
# description: True for a namespace that the workflow may act in. Cluster-scoped objects (no namespace) are for trusted workflows.
reachable(namespace) if {
	is_string(namespace)
	count(namespace) > 0
	namespace == input.workflow.metadata.namespace
}

reachable(namespace) if {
	is_string(namespace)
	trusted
}
