# METADATA
# title: Outcomes
# description: The result of an attempt as its status reports it.
package kubernaut.lib.outcomes

# METADATA
# description: What every result says; `details` is the action's own part (scaleResult, restartResult, …).
result(declared, proven, affected, details) := object.union(details, {
	"success": count(_unmet(declared, proven, true)) == 0,
	"resourcesAffected": affected,
	"warnings": sort([declared[type].message | some type in _unmet(declared, proven, false)]),
})

# METADATA
# description: One line of resourcesAffected.
changed(target, change) := object.union(
	{"resourceType": target.kind, "name": target.name, "changeType": change},
	{"namespace": namespace | namespace := target.namespace},
)

# METADATA
# description: The typed part of a result for a change of an object's content.
updated(target, type, previous, new) := {"updateResult": object.union(
	{
		"resourceType": target.kind,
		"resourceName": target.name,
		"updateType": type,
		"previousValue": previous,
		"newValue": new,
	},
	{"namespace": namespace | namespace := target.namespace},
)}

_unmet(declared, proven, required) := {type |
	some type in (object.keys(declared) - proven)
	declared[type].required == required
}
