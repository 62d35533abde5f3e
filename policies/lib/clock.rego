# METADATA
# title: Clock
# description: Time as data; the instant comes in as `input.now`, nothing here reads a clock.
package kubernaut.lib.clock

# METADATA
# description: A Go duration in seconds, fractions included.
seconds(duration) := time.parse_duration_ns(duration) / 1000000000

# METADATA
# description: Seconds from an instant until now; 0 where the instant is unknown or lies ahead.
elapsed(instant) := max([0, (time.parse_rfc3339_ns(input.now) - time.parse_rfc3339_ns(instant)) / 1000000000]) if {
	is_string(instant)
} else := 0

# METADATA
# description: The same of an instant at which the workflow's phase began, without what counts against no limit.
counted(instant) := max([0, elapsed(instant) - _uncounted])

default _uncounted := 0

_uncounted := max([0, input.workflow.status.uncountedSeconds]) if is_number(input.workflow.status.uncountedSeconds)

# METADATA
# description: A duration setting in seconds. A setting that is missing or malformed has none.
setting(name) := seconds(data.kubernaut.settings[name])

# METADATA
# description: When to look again at something that has been waited for this long, soon at first, then more and more seldom.
next_check(waited) := max([0.2, min([2, waited / 3])])
