# METADATA
# title: Cordon a node
# description: |
#   Keeps new pods off a node; pods that run there stay. The way back opens it again, unless it was cordoned before.
# custom:
#   reversible: true
#   example:
#     action: cordon-node
#     parameters:
#       cordonNode: {nodeName: node-1}
package kubernaut.actions.cordon_node

import data.kubernaut.lib.outcomes
import data.kubernaut.lib.parameters
import data.kubernaut.lib.patch

member := "cordonNode"

service_account := "cordon-node-sa"

executor := "api"

timeout_seconds := 60

estimated_seconds := 5

reversible := true

permissions := [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"]}]

_wanted := input.step.parameters[member]

parameters_valid if is_object(target)

# Cluster-scoped: only workflows of trusted namespaces may name it.
target := parameters.named({"apiVersion": "v1", "kind": "Node", "name": _wanted.nodeName})

facts contains object.union(target, {"id": "node", "verb": "get"})

_node := input.facts.node.object

state["node_found"] if input.facts.node.found == true

state["node_name"] := target.name

state["unschedulable"] := object.get(_node.spec, "unschedulable", false)

preconditions := {"node_exists": {
	"required": true,
	"timeout": "10s",
	"message": "the node must exist",
	"remedy": "kubectl get nodes lists the names",
}}

postconditions := {"node_unschedulable": {
	"required": true,
	"timeout": "30s",
	"message": "the node must be marked unschedulable",
}}

holds contains "node_exists" if state.node_found

holds contains "node_unschedulable" if state.unschedulable == true

operations := [patch.operation(target, _node, object.union(_node, {"spec": {"unschedulable": true}}))]

result := outcomes.result(
	postconditions, holds, [outcomes.changed(target, "update")],
	outcomes.updated(target, "spec", patch.former(_sent), patch.present(_sent)),
)

_sent := input.attempt.operations[0].undo
