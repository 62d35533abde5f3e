# METADATA
# title: Team rules
# description: |
#   Folds what teams add below data.kubernaut.rules.<gate>.<name> into a gate, and what is on trial below data.kubernaut.shadow.
#   By reference, one rule name at a time: iterating over the packages themselves would be recursion.
package kubernaut.lib.rules

import data.kubernaut.lib.adaptive
import data.kubernaut.lib.facts as fact_requests
import data.kubernaut.lib.reasons
import data.kubernaut.lib.undo

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
# description: |
#   What packages on trial say: reasons with the `effect` that they would have, and with the effect `facts` the `request` for something
#   to be read.
on_trial(gate) := {line |
	some name
	some line in trial[gate][name]
}

# METADATA
# description: The same by gate and name. Asking for one package evaluates no other, so this finds the one that spoils it for all.
# scope: document
trial[gate][name] contains _line(gate, name, effect, reasons.reason("", entry)) if {
	some gate, name
	some effect in {"deny", "wait", "warn", "stop"}
	some entry in _tried[gate][name][effect]
}

trial[gate][name] contains _line(gate, name, effect, {"code": effect, "message": json.marshal(entry)}) if {
	some gate, name
	some effect in {"limit", "require_approval", "overwrite"}
	some entry in _tried[gate][name][effect]
	_kind(entry) in _takes[effect]
}

trial[gate][name] contains _line(gate, name, effect, {"code": effect, "message": json.marshal(entry)}) if {
	effect := "adjust"
	some gate, name
	some entry in adaptive.readable(_tried[gate][name].adjust)
	count({number | number := entry.step} - {number | some number in input.ready}) == 0
}

trial[gate][name] contains _line(gate, name, effect, _of_step(entry)) if {
	some gate, name
	some effect in {"hold", "skip"}
	some entry in _tried[gate][name][effect]
	entry.step in input.ready
}

trial[gate][name] contains _line(gate, name, "facts", {"request": request}) if {
	some gate, name
	some request in fact_requests.usable(_tried[gate][name].facts)
}

trial[gate][name] contains _line(gate, name, "wait", reason) if {
	some gate, name
	requests := fact_requests.usable(_tried[gate][name].facts)
	some reason in fact_requests.missing(gate, requests)
}

# What would be refused.

trial[gate][name] contains _line(gate, name, "deny", reason) if {
	some gate, name
	requests := _tried[gate][name].facts
	some reason in fact_requests.malformed(gate, {request | some request in requests})
}

trial[gate][name] contains _line(gate, name, "deny", reasons.malformed("", effect, entry)) if {
	some gate, name
	some effect, kinds in _takes
	some entry in _tried[gate][name][effect]
	count({_kind(entry)} & kinds) == 0
}

trial[gate][name] contains _line(gate, name, "deny", reasons.malformed("", "adjust", entry)) if {
	some gate, name
	entries := _tried[gate][name].adjust
	some entry in ({entry | some entry in entries} - adaptive.readable(entries))
}

trial[gate][name] contains _line(gate, name, "deny", reasons.not_a_set("", rule)) if {
	some gate, name, rule
	type_name(_tried[gate][name][rule]) != "set"
}

_line(gate, name, effect, said) := object.union(said, {"effect": effect, "policy": sprintf("shadow.%s.%s", [gate, name])})

# What the entries of a rule may be.
_takes := {
	"limit": {"number"},
	"hold": {"step", "step with reason"},
	"skip": {"step", "step with reason"},
	"overwrite": {"step with reason"},
	"require_approval": {"string", "object", "step", "step with reason"},
}

_kind(entry) := "step with reason" if {
	undo.is_overwrite(entry)
} else := "step" if {
	is_number(entry.step)
} else := type_name(entry)

_of_step(entry) := object.union(reason, {"message": sprintf("step %v: %s", [entry.step, reason.message])}) if {
	reason := reasons.reason("", object.remove(entry, ["step"]))
}

_tried[gate][name].deny := data.kubernaut.shadow[gate][name].deny

_tried[gate][name].wait := data.kubernaut.shadow[gate][name].wait

_tried[gate][name].warn := data.kubernaut.shadow[gate][name].warn

_tried[gate][name].facts := data.kubernaut.shadow[gate][name].facts

_tried[gate][name].limit := data.kubernaut.shadow[gate][name].limit

_tried[gate][name].hold := data.kubernaut.shadow[gate][name].hold

_tried[gate][name].skip := data.kubernaut.shadow[gate][name].skip

_tried[gate][name].adjust := data.kubernaut.shadow[gate][name].adjust

_tried[gate][name].overwrite := data.kubernaut.shadow[gate][name].overwrite

_tried[gate][name].stop := data.kubernaut.shadow[gate][name].stop

_tried[gate][name].require_approval := data.kubernaut.shadow[gate][name].require_approval

_not_sets(gate) := union({
	{[name, "deny"] | some name; type_name(data.kubernaut.rules[gate][name].deny) != "set"},
	{[name, "wait"] | some name; type_name(data.kubernaut.rules[gate][name].wait) != "set"},
	{[name, "warn"] | some name; type_name(data.kubernaut.rules[gate][name].warn) != "set"},
	{[name, "facts"] | some name; type_name(data.kubernaut.rules[gate][name].facts) != "set"},
	{[name, "limit"] | some name; type_name(data.kubernaut.rules[gate][name].limit) != "set"},
	{[name, "hold"] | some name; type_name(data.kubernaut.rules[gate][name].hold) != "set"},
	{[name, "skip"] | some name; type_name(data.kubernaut.rules[gate][name].skip) != "set"},
	{[name, "adjust"] | some name; type_name(data.kubernaut.rules[gate][name].adjust) != "set"},
	{[name, "overwrite"] | some name; type_name(data.kubernaut.rules[gate][name].overwrite) != "set"},
	{[name, "stop"] | some name; type_name(data.kubernaut.rules[gate][name].stop) != "set"},
	{[name, "require_approval"] | some name; type_name(data.kubernaut.rules[gate][name].require_approval) != "set"},
})
