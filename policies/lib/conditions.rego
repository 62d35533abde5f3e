# METADATA
# title: Conditions of the catalogue
# description: |
#   Whose terms count for the conditions that a step's action declares, which of them hold, and whether there is still time.
#   A condition is declared as a constant and proven by `holds`; a proof that is undefined leaves it unmet, never absent. So does a
#   declaration that cannot be read: nothing proves it.
package kubernaut.lib.conditions

import data.kubernaut.lib.clock

# METADATA
# description: |
#   The declared conditions with the terms that count, `seconds` being the timeout: those of the catalogue, tightened by the workflow's
#   conditionOverrides and the step's entries without rego. `side` is preconditions or postconditions. Terms that would loosen are
#   ignored here too, whatever planning said, unless the setting allow-condition-loosening is true.
terms(declared, side) := {type: judged |
	some type, condition in declared
	declaration := _declaration(type, condition)
	said := array.concat([declaration], _changes(type, side))
	judged := object.union(object.remove(declaration, ["timeout"]), {"required": _required(said), "seconds": _seconds(said)})
}

# A condition without words of its own is called by its name.
_declaration(type, condition) := object.union(
	object.remove(condition, ["message"]),
	{"message": _message(type, condition), "readable": true},
) if {
	is_object(condition)
} else := {"message": sprintf("%v is declared as something that is no condition", [type]), "readable": false}

_message(type, condition) := condition.message if {
	is_string(condition.message)
} else := type

# METADATA
# description: Each condition as the verdict reports it.
results(judged, holds) := [result |
	some type, condition in judged
	result := {"type": type, "required": condition.required, "passed": _passed(type, condition, holds), "message": condition.message}
]

default _passed(_, _, _) := false

_passed(type, condition, holds) if {
	condition.readable
	type in holds
}

# METADATA
# description: Names of the conditions that do not hold, required ones or the others.
unmet(judged, holds, required) := {result.type |
	some result in results(judged, holds)
	result.passed == false
	result.required == required
}

# METADATA
# description: Those of the unmet conditions that may still come to hold, as each was first seen unmet no longer ago than its timeout.
in_time(judged, types) := {type |
	some type in types
	waited(type) < judged[type].seconds
}

# METADATA
# description: Seconds since a condition was first seen unmet.
waited(type) := clock.elapsed(object.get(input, ["attempt", "since", type], input.now))

# METADATA
# description: A reason of the catalogue for an unmet condition.
reason(type, condition) := object.union(
	{"code": type, "message": condition.message, "policy": sprintf("catalogue.%s", [input.step.action])},
	object.filter(condition, {"remedy"}),
)

_changes(type, side) := array.concat(
	[change |
		change := input.workflow.spec.conditionOverrides[input.step.action][side][type]
		is_object(change)
	],
	[entry |
		some entry in input.step[_entries[side]]
		entry.type == type
		object.get(entry, "rego", "") == ""
	],
)

_entries := {"preconditions": "preConditions", "postconditions": "postConditions"}

_required(said) := _counting([wished.required | some wished in said; is_boolean(wished.required)], true)

_seconds(said) := _counting([clock.seconds(wished.timeout) | some wished in said], 0)

# The last word where loosening is allowed, else the strictest: required before not required, the shortest before longer ones.
_counting([], strict) := strict

_counting(wishes, _) := wishes[count(wishes) - 1] if _loosening_allowed

_counting(wishes, _) := _strictest(wishes) if not _loosening_allowed

_strictest(wishes) := true in wishes if {
	is_boolean(wishes[0])
} else := min(wishes)

_loosening_allowed if data.kubernaut.settings["allow-condition-loosening"] == true
