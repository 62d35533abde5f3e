# METADATA
# title: Team rules
# description: |
#   Folds what teams add below data.kubernaut.rules.<gate>.<name> into a gate, and what is on trial below data.kubernaut.shadow.
#   By reference, one rule name at a time: iterating over the packages themselves would be recursion.
package kubernaut.lib.rules

import data.kubernaut.lib.reasons

# METADATA
# description: Why teams deny.
deny(gate) := {reasons.reason(policy(gate, name), entry) |
	some name
	some entry in data.kubernaut.rules[gate][name].deny
}

# METADATA
# description: Why teams wait.
wait(gate) := {reasons.reason(policy(gate, name), entry) |
	some name
	some entry in data.kubernaut.rules[gate][name].wait
}

# METADATA
# description: What teams warn of.
warn(gate) := {reasons.reason(policy(gate, name), entry) |
	some name
	some entry in data.kubernaut.rules[gate][name].warn
}

# METADATA
# description: What teams want to have read.
facts(gate) := {entry |
	some name
	some entry in data.kubernaut.rules[gate][name].facts
}

# METADATA
# description: Denials for rules that would otherwise be ignored, because they are no sets.
faults(gate) := {reasons.not_a_set(policy(gate, name), rule) | some [name, rule] in _not_sets(gate)}

# METADATA
# description: Where a team's reason comes from.
policy(gate, name) := sprintf("rules.%s.%s", [gate, name])

# METADATA
# description: What packages on trial say, with the effect that it would have.
on_trial(gate) := union({
	_tried(gate, "deny", {[name, entry] | some name; some entry in data.kubernaut.shadow[gate][name].deny}),
	_tried(gate, "wait", {[name, entry] | some name; some entry in data.kubernaut.shadow[gate][name].wait}),
	_tried(gate, "warn", {[name, entry] | some name; some entry in data.kubernaut.shadow[gate][name].warn}),
	_tried_values(gate, "limit", {[name, entry] | some name; some entry in data.kubernaut.shadow[gate][name].limit}),
	_tried_values(gate, "hold", {[name, entry] | some name; some entry in data.kubernaut.shadow[gate][name].hold}),
	_tried_values(gate, "skip", {[name, entry] | some name; some entry in data.kubernaut.shadow[gate][name].skip}),
	_tried_values(gate, "require_approval", {[name, entry] |
		some name
		some entry in data.kubernaut.shadow[gate][name].require_approval
	}),
})

_tried(gate, effect, found) := {object.union(reasons.reason(_trial(gate, name), entry), {"effect": effect}) | some [name, entry] in found}

_tried_values(gate, effect, found) := {line |
	some [name, entry] in found
	line := {"code": effect, "message": json.marshal(entry), "policy": _trial(gate, name), "effect": effect}
}

_trial(gate, name) := sprintf("shadow.%s.%s", [gate, name])

_not_sets(gate) := union({
	{[name, "deny"] | some name; type_name(data.kubernaut.rules[gate][name].deny) != "set"},
	{[name, "wait"] | some name; type_name(data.kubernaut.rules[gate][name].wait) != "set"},
	{[name, "warn"] | some name; type_name(data.kubernaut.rules[gate][name].warn) != "set"},
	{[name, "facts"] | some name; type_name(data.kubernaut.rules[gate][name].facts) != "set"},
	{[name, "limit"] | some name; type_name(data.kubernaut.rules[gate][name].limit) != "set"},
	{[name, "hold"] | some name; type_name(data.kubernaut.rules[gate][name].hold) != "set"},
	{[name, "skip"] | some name; type_name(data.kubernaut.rules[gate][name].skip) != "set"},
	{[name, "require_approval"] | some name; type_name(data.kubernaut.rules[gate][name].require_approval) != "set"},
})
