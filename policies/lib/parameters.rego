# METADATA
# title: Parameters
# description: What authors of a step may leave out, and what their words must look like.
package kubernaut.lib.parameters

# METADATA
# description: The namespace of the target; the workflow's own where the author names none.
namespace(parameters) := input.workflow.metadata.namespace if {
	object.get(parameters, "namespace", "") in {"", null}
} else := parameters.namespace

# METADATA
# description: The target, undefined unless it is named by words that can be names. What has no target asks for nothing and sends nothing.
named(target) := target if {
	object_name(object.get(target, "namespace", "none"))
	object_name(target.name)
}

# METADATA
# description: True for the name of an object.
object_name(name) if {
	count(name) <= 253
	regex.match(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`, name)
}

# METADATA
# description: A duration in whole seconds, written as a number or as a Go duration.
# scope: document
seconds(duration) := duration if {
	is_number(duration)
	duration >= 0
	duration == floor(duration)
}

seconds(duration) := floor(time.parse_duration_ns(duration) / 1000000000) if {
	is_string(duration)
	time.parse_duration_ns(duration) >= 0
}

# METADATA
# description: True for a whole number within bounds.
whole(number, least, most) if {
	is_number(number)
	number >= least
	number <= most
	number == floor(number)
}
