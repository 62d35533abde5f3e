# METADATA
# title: Conditions by reference
# description: |
#   The conditions that a step lists with `rego: configmap:key.rego:rule`. The rule, in a package kubernaut.conditions.<name>, is a boolean
#   or a set that holds the condition's type; anything else, and nothing at all, is not met. Its package may ask for `facts`.
package kubernaut.lib.references

import data.kubernaut.lib.clock

# METADATA
# description: Each referring entry of a step's list with whether it holds. `side` is preConditions or postConditions.
judged(step, side) := [result |
	some entry in step[side]
	is_string(entry.type)
	_refers(entry)
	answer := _answer(step, entry)
	result := {
		"type": entry.type,
		"required": object.get(entry, "required", true) != false,
		"passed": _proves(answer, entry.type),
		"message": concat("", [_message(entry), _fault(answer)]),
		"seconds": _seconds(entry),
	}
]

# METADATA
# description: What the packages behind a step's list want to have read.
facts(step, side) := {request |
	some entry in step[side]
	name := named(entry.rego)

	# regal ignore:with-outside-test-context
	some request in data.kubernaut.conditions[name].facts with input as _question(step)
}

# METADATA
# description: The name of the condition package that a reference means; undefined where no policy ConfigMap has it.
named(reference) := name if {
	[configmap, key, _] := split(reference, ":")
	name := data.kubernaut.references[sprintf("%s:%s", [configmap, key])]
}

# METADATA
# description: What the verdict says of a result.
reported(result) := object.remove(result, ["seconds"])

# METADATA
# description: Why an unmet condition counts.
reason(gate, code, result) := {
	"code": code,
	"message": sprintf("%s does not hold: %s", [result.type, result.message]),
	"policy": gate,
	"remedy": "see the condition's package in its policy ConfigMap for what it asks for",
}

# Everything but the other steps: a condition is about its own, and copying five hundred for each would take seconds.
_question(step) := object.union(object.remove(input, ["steps"]), {"step": step})

_refers(entry) if object.get(entry, "rego", "") != ""

# What the rule says, as the only member of a list; nothing where it is undefined or errs.
_answer(step, entry) := [value] if {
	[_, _, rule] := split(entry.rego, ":")

	# regal ignore:with-outside-test-context
	value := data.kubernaut.conditions[named(entry.rego)][rule] with input as _question(step)
} else := []

default _proves(_, _) := false

_proves([true], _)

_proves([value], type) if {
	is_set(value)
	type in value
}

# A rule that only says yes is undefined for no, so this is no error; but one that errs looks the same.
_fault([]) := " (its rule is undefined)"

_fault([value]) := "" if {
	type_name(value) in {"boolean", "set"}
} else := sprintf(" (its rule says a %s, neither true nor a set)", [type_name(value)])

_message(entry) := entry.description if {
	is_string(entry.description)
} else := sprintf("it is judged by %v", [entry.rego])

_seconds(entry) := clock.seconds(entry.timeout) if {
	is_string(entry.timeout)
} else := 0
