# METADATA
# title: Uncordon a node
# description: |
#   Lets new pods onto a node again. The way back cordons it again, unless it was open before.
# custom:
#   reversible: true
#   example:
#     action: uncordon-node
#     parameters:
#       uncordonNode: {nodeName: node-1}
package kubernaut.actions.uncordon_node

import data.kubernaut.lib.outcomes
import data.kubernaut.lib.parameters
import data.kubernaut.lib.patch

member := "uncordonNode"

service_account := "uncordon-node-sa"

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

postconditions := {"node_schedulable": {
	"required": true,
	"timeout": "30s",
	"message": "the node must not be marked unschedulable",
}}

holds contains "node_exists" if state.node_found

holds contains "node_schedulable" if state.unschedulable == false

operations := [patch.operation(target, _node, json.remove(_node, ["spec/unschedulable"]))]

result := outcomes.result(
	postconditions, holds, [outcomes.changed(target, "update")],
	outcomes.updated(target, "spec", patch.former(_sent), patch.present(_sent)),
)

_sent := input.attempt.operations[0].undo
