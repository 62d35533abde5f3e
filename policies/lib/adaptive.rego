# METADATA
# title: Adaptive orchestration
# description: |
#   What policy may change of a workflow that runs, where its author allows it: leave out a step with nothing left to do, have fewer steps
#   run at once, give a step more time, change an amount in its parameters. By default nothing is allowed, and no fact is asked for either.
package kubernaut.lib.adaptive

import data.kubernaut.lib.clock
import data.kubernaut.lib.parameters
import data.kubernaut.lib.targets

# METADATA
# description: What a change needs in the workflow's `adaptiveOrchestration`, by the first word of its adjustment.
switches := {
	"skip": "optimizationEnabled",
	"lower": "optimizationEnabled",
	"extend": "learningFromHistory",
	"adjust": "dynamicStepAdjustment",
}

# METADATA
# description: True for a kind of change that the author allows.
allowed(change) if input.workflow.spec.adaptiveOrchestration[switches[change]] == true

# What teams write: the entries of `adjust`, in three forms.

# METADATA
# description: The entries that can be carried out; a field too many is refused too, as it might be a bound with its name misspelt.
readable(entries) := {entry | some entry in entries; is_string(kind(entry))}

# METADATA
# description: The kind of change that an entry asks for; undefined where it cannot be read or leaves the bounds that it names.
kind(entry) := "lower" if {
	object.keys(entry) == {"max_parallel", "reason"}
	parameters.whole(entry.max_parallel, 1, 500)
	_is_text(entry.reason)
} else := "extend" if {
	object.keys(entry) == {"step", "timeout", "reason"}
	is_number(entry.step)
	_duration(entry.timeout) > 0
	_is_text(entry.reason)
} else := "adjust" if {
	object.keys(entry) in {{"step", "parameter", "value", "between", "reason"}, {"step", "parameter", "value", "one_of", "reason"}}
	is_number(entry.step)
	_is_within(entry)
	_is_text(entry.reason)
}

_is_text(reason) if {
	is_string(reason)
	count(reason) > 0
}

_is_within(entry) if {
	[least, most] := entry.between
	value := amount(entry.parameter, entry.value)
	amount(entry.parameter, least) <= value
	value <= amount(entry.parameter, most)
}

_is_within(entry) if {
	is_array(entry.one_of)
	entry.value in entry.one_of
	every choice in entry.one_of {
		amount(entry.parameter, choice) >= 0
	}
}

# The parameters that say how much or how long. By name, because a Deployment may be called 5m; what says which object is touched, which
# image or which revision, is not among them.
_whole_numbers := {
	"maxReplicas": [1, 10000],
	"minReplicas": [0, 10000],
	"replicas": [0, 10000],
	"targetCPUUtilization": [1, 1000],
}

_durations := {"gracePeriod", "timeout", "ttl"}

_quantities := {"cpuLimit", "cpuRequest", "memoryLimit", "memoryRequest", "size"}

# METADATA
# description: The value of a parameter as a number that can be compared; undefined for a parameter that is no amount.
# scope: document
amount(parameter, value) := value if {
	[least, most] := _whole_numbers[parameter]
	parameters.whole(value, least, most)
}

amount(parameter, value) := _duration(value) if parameter in _durations

amount(parameter, value) := units.parse(value) if {
	parameter in _quantities
	count(value) <= 32
	regex.match(`^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$`, value)
}

_duration(text) := clock.seconds(text) if {
	count(text) <= 32
	regex.match(`^([0-9]{1,7}(\.[0-9]{1,9})?(h|m|s|ms|us|µs|ns))+$`, text)
}

# Time.

# METADATA
# description: How long one attempt at a step may take, in seconds, if nothing is changed.
timeout(step) := clock.seconds(step.timeout) if {
	is_string(step.timeout)
} else := clock.seconds(input.workflow.spec.timeouts.step) if {
	is_string(input.workflow.spec.timeouts.step)
} else := clock.setting("step-timeout")

# METADATA
# description: |
#   A wished timeout as far as it counts, in seconds: three times the step's own at most; undefined where that is no more than its own.
longer(step, wished) := seconds if {
	own := timeout(step)
	seconds := min([wished, 3 * own])
	seconds > own
}

# METADATA
# description: The question how long earlier attempts at such a step took, if the author allows to learn from it.
history(step) := {object.union(
	{"id": _history_id(step), "verb": "history", "action": step.action, "optional": true},
	_kind_of_target(step),
) |
	allowed("extend")
	timeout(step) > 0
}

# METADATA
# description: |
#   The timeout that earlier attempts speak for, in seconds, with the reason: twice the time in which 95 of 100 of them were done, if there
#   were five or more.
learned(step) := {"seconds": longer(step, 2 * past.durationSeconds.p95), "reason": reason} if {
	allowed("extend")
	past := input.facts[_history_id(step)]
	past.available == true
	past.count >= 5
	reason := sprintf("of %v earlier attempts, 95 %% were done within %v s (history)", [past.count, past.durationSeconds.p95])
}

_history_id(step) := sprintf("history/%d", [step.stepNumber])

default _kind_of_target(_) := {}

_kind_of_target(step) := object.filter(targets.reachable_of(step), ["kind", "namespace"])

# What is not needed.

# METADATA
# description: |
#   What has to be read to tell whether a step has something left to do: what its action asks for first, each for this step alone, of
#   objects that the workflow may act on, and only where the action can tell at all.
reads(step) := {object.union(request, {"id": concat("", [_prefix(step), request.id]), "optional": true}) |
	_may_be_left_out(step)

	# regal ignore:with-outside-test-context
	some request in data.kubernaut.actions[step.action].facts with input as targets.question(step)
	request.verb in {"get", "list"}
	targets.reachable(object.get(request, "namespace", ""))
}

# METADATA
# description: Why nothing is left to do for a step, in the words of its action; empty where something is, or where nobody can tell.
unnecessary(step) := {why |
	_may_be_left_out(step)

	# regal ignore:with-outside-test-context
	some why in data.kubernaut.actions[step.action].unnecessary with input as _question(step)
	is_string(why)
}

# A step that was tried may have changed something: whether that came to its end is for its next attempt to see.
_may_be_left_out(step) if {
	allowed("skip")
	object.get(step, "attempts", 0) == 0
	is_set(data.kubernaut.actions[step.action].unnecessary)
}

_question(step) := object.union(
	targets.question(step),
	{"facts": {trim_prefix(request.id, _prefix(step)): input.facts[request.id] | some request in reads(step)}},
)

_prefix(step) := sprintf("adaptive/%d/", [step.stepNumber])

# Parameters.

# METADATA
# description: The value that an entry wants; written without a fraction, which the field of a whole number would not take.
wanted(entry) := floor(entry.value) if {
	is_number(entry.value)
} else := entry.value

# METADATA
# description: True where a step has this parameter, and it says an amount.
has_amount(step, parameter) if amount(parameter, present(step, parameter)) >= 0

# METADATA
# description: What a step says of a parameter now.
present(step, parameter) := fields[parameter] if {
	count(step.parameters) == 1
	some fields in step.parameters
}

# METADATA
# description: The parameters of a step, some of them changed.
changed(step, changes) := {member: object.union(fields, changes) | some member, fields in step.parameters}
