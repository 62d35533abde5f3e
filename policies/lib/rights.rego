# METADATA
# title: Rights
# description: Which rights the actions of these steps declare, asked once for each ServiceAccount, verb, resource and place.
package kubernaut.lib.rights

import data.kubernaut.lib.targets

# METADATA
# description: The requests for access facts, each with an id that tells what it asks.
requests(steps) := {object.union(right, {"id": _id(right), "verb": "access"}) | some right in _rights(steps)}

# METADATA
# description: The requests that were answered with no.
refused(requests) := {request |
	some request in requests
	input.facts[request.id].available == true
	object.get(input.facts[request.id], "allowed", false) != true
}

# METADATA
# description: A right in words.
words(request) := sprintf("%s may not %s %s%s", [
	request.serviceAccount,
	request.accessVerb,
	concat("/", array.concat([request.resource], [subresource | subresource := request.subresource])),
	_where(request),
])

_rights(steps) := {right |
	some step in steps
	target := targets.reachable_of(step)
	some rule in data.kubernaut.actions[step.action].permissions
	some group in rule.apiGroups
	some resource in rule.resources
	some verb in rule.verbs
	parts := split(resource, "/")
	right := object.union_n([
		{
			"serviceAccount": data.kubernaut.actions[step.action].service_account,
			"accessVerb": verb,
			"group": group,
			"resource": parts[0],
		},
		{"subresource": subresource | subresource := parts[1]},
		{"namespace": namespace | namespace := _namespace(target, parts[0])},
	])
}

_namespace(target, resource) := namespace if {
	count({resource} & targets.cluster_scoped) == 0
	namespace := target.namespace
}

_id(right) := sprintf("access/%s/%s/%s.%s/%s", [
	right.serviceAccount,
	right.accessVerb,
	concat("/", array.concat([right.resource], [subresource | subresource := right.subresource])),
	right.group,
	object.get(right, "namespace", "*"),
])

_where(request) := sprintf(" in namespace %s", [request.namespace]) if {
	request.namespace
} else := ""
