# METADATA
# title: Verify
# description: Did the operations have the effect that the action promises? Waits, condition by condition, as long as there is time.
# scope: subpackages
# schemas:
#   - input: schema.verify_input
package kubernaut.gates.verify

import data.kubernaut.lib.clock
import data.kubernaut.lib.conditions as terms
import data.kubernaut.lib.verdict as v

# METADATA
# description: The whole answer; defined for every input.
# entrypoint: true
default verdict := {
	"decision": "deny",
	"reasons": [{"code": "verdict_undefined", "message": "the gate could not judge this question", "policy": "verify"}],
	"warnings": [],
	"facts": [],
	"conditions": [],
	"result": {},
}

verdict := object.union_n([
	v.document(deny, wait, warn, facts),
	{"conditions": _conditions, "result": _result},
	{"service_account": account | account := data.kubernaut.actions[input.step.action].service_account},
	{"failure_reason": "postcondition_failed" | count(_late) > 0},
	{"next_check_seconds": clock.next_check(_waited) | count(wait) > 0},
])

# METADATA
# description: What packages on trial would have said.
# entrypoint: true
shadow contains v.reason(sprintf("shadow.verify.%s", [name]), r) if {
	some name
	some r in data.kubernaut.shadow.verify[name].deny
}

_known if is_string(data.kubernaut.actions[input.step.action].service_account)

_judged := terms.terms(data.kubernaut.actions[input.step.action].postconditions, "postconditions")

_holds contains type if some type in data.kubernaut.actions[input.step.action].holds

default _conditions := []

_conditions := terms.results(_judged, _holds)

default _result := {}

_result := data.kubernaut.actions[input.step.action].result if v.settled(facts)

_unmet := terms.unmet(_judged, _holds, true)

_in_time contains type if {
	some type in _unmet
	terms.in_time(type, _judged[type])
}

_late contains type if {
	_facts_read
	some type in _unmet
	not _in_time[type]
}

_facts_read if {
	v.settled(facts)
	count(v.conflicts(facts)) == 0
}

default _waited := 0

_waited := max([clock.elapsed(object.get(input, ["attempt", "since", type], input.now)) | some type in _unmet]) if count(_unmet) > 0

facts contains r if some r in data.kubernaut.actions[input.step.action].facts

facts contains r if {
	some name
	some r in data.kubernaut.rules.verify[name].facts
}

deny contains {"code": "action_unknown", "message": "there is no such action in the catalogue", "policy": "verify"} if not _known

deny contains {"code": "postconditions_undefined", "message": "the action declares no postconditions", "policy": "verify"} if {
	_known
	not _declared
}

_declared if is_object(_judged)

deny contains terms.reason(type, _judged[type]) if some type in _late

deny contains v.fact_conflict(id) if some id in v.conflicts(facts)

deny contains v.reason(sprintf("rules.verify.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.verify[name].deny
}

deny contains v.not_a_set(sprintf("rules.verify.%s", [name]), rule) if {
	some rule in {"deny", "wait", "warn", "facts"}
	some name
	value := data.kubernaut.rules.verify[name][rule]
	type_name(value) != "set"
}

wait contains terms.reason(type, _judged[type]) if {
	_facts_read
	some type in _in_time
}

wait contains v.reason(sprintf("rules.verify.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.verify[name].wait
}

warn contains terms.reason(type, _judged[type]) if some type in terms.unmet(_judged, _holds, false)

warn contains v.reason(sprintf("rules.verify.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.verify[name].warn
}
