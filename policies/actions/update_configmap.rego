# METADATA
# title: Update a ConfigMap
# description: |
#   Writes keys of a ConfigMap; other keys stay. The recorded way back restores the old values and takes new keys out again, key by key.
# custom:
#   reversible: true
#   example:
#     action: update-configmap
#     parameters:
#       updateConfigmap: {namespace: shop, name: web-settings, dataUpdates: {log-level: debug}}
package kubernaut.actions.update_configmap

import data.kubernaut.lib.outcomes
import data.kubernaut.lib.parameters
import data.kubernaut.lib.patch

member := "updateConfigmap"

service_account := "update-configmap-sa"

executor := "api"

timeout_seconds := 60

estimated_seconds := 5

reversible := true

permissions := [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "patch"]}]

_wanted := input.step.parameters[member]

parameters_valid if {
	is_object(target)
	is_object(_wanted.dataUpdates)
	count(_wanted.dataUpdates) > 0
	every key, value in _wanted.dataUpdates {
		regex.match(`^[-._a-zA-Z0-9]{1,253}$`, key)
		is_string(value)
	}
}

target := parameters.named({
	"apiVersion": "v1",
	"kind": "ConfigMap",
	"namespace": parameters.namespace(_wanted),
	"name": _wanted.name,
})

facts contains object.union(target, {"id": "configmap", "verb": "get"})

_configmap := input.facts.configmap.object

state["configmap_found"] if input.facts.configmap.found == true

state["name"] := target.name

state["namespace"] := target.namespace

state["immutable"] := object.get(_configmap, "immutable", false)

state["binary_keys"] := count(object.keys(object.get(_configmap, "binaryData", {})) & object.keys(_wanted.dataUpdates))

state["wanted_keys"] := sort(object.keys(_wanted.dataUpdates))

preconditions := {
	"configmap_exists": {
		"required": true,
		"timeout": "10s",
		"message": "the ConfigMap must exist",
		"remedy": "check the namespace and the name in the step's parameters",
	},
	"configmap_mutable": {
		"required": true,
		"timeout": "5s",
		"message": "the ConfigMap must not be immutable",
		"remedy": "an immutable ConfigMap can only be replaced by one of another name",
	},
	"keys_are_text": {
		"required": true,
		"timeout": "5s",
		"message": "none of the keys may hold binary data",
	},
}

postconditions := {"values_written": {
	"required": true,
	"timeout": "30s",
	"message": "every key must have its new value",
	"remedy": "someone else may be writing the same keys",
}}

holds contains "configmap_exists" if state.configmap_found

holds contains "configmap_mutable" if state.immutable == false

holds contains "keys_are_text" if state.binary_keys == 0

holds contains "values_written" if {
	every key, value in _wanted.dataUpdates {
		_configmap.data[key] == value
	}
}

operations := [patch.operation(target, _configmap, object.union(_configmap, {"data": _wanted.dataUpdates}))]

result := outcomes.result(
	postconditions, holds, [outcomes.changed(target, "update")],
	outcomes.updated(target, "config", patch.former(_sent), patch.present(_sent)),
)

_sent := input.attempt.operations[0].undo
