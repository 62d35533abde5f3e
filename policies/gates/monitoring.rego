# METADATA
# title: Monitoring
# description: |
#   Did the workflow help? Waits until what it touched has been healthy for the window of the setting monitoring-stability.
#   - A new alert is one that began after the first step could start and concerns what the workflow touched; lib/alerts says when it does.
#     It fails the workflow. Nothing else of the Alertmanager counts, and an Alertmanager that cannot be read is only warned of.
#   - `effectiveness_score` is the share of the steps that were completed, times how healthy their targets are (all 1, some 0.75, none
#     0.5, unknown 0), and half of that while the alert that the workflow was made for still fires; cut to two digits.
# scope: subpackages
# schemas:
#   - input: schema.monitoring_input
package kubernaut.gates.monitoring

import data.kubernaut.lib.alerts
import data.kubernaut.lib.clock
import data.kubernaut.lib.rules
import data.kubernaut.lib.targets
import data.kubernaut.lib.undo
import data.kubernaut.lib.verdict as v
import data.kubernaut.lib.workloads

# METADATA
# description: The whole answer; defined for every input.
# entrypoint: true
default verdict := {
	"decision": "deny",
	"reasons": [{
		"code": "verdict_undefined",
		"message": "the gate could not judge this question",
		"policy": "monitoring",
		"remedy": "a policy fails on this question; `phasegate policy status` lists the latest changes: take back the one that brought it",
	}],
	"warnings": [],
	"facts": [],
	"failure_reason": "monitoring_failed",
	"error_type": "execution_error",
	"outcome": "unknown",
	"effectiveness_score": 0,
	"resource_health": "unknown",
	"new_alerts": false,
	"recommended_actions": [],
	"rollback": false,
}

verdict := object.union_n([
	_answer,
	{
		"outcome": _outcome,
		"effectiveness_score": _score,
		"resource_health": _health,
		"new_alerts": count(_new_alerts) > 0,
		"recommended_actions": _recommended,
		"rollback": _rollback,
	},
	v.blame(_answer, _failure_reason),
	{"next_check_seconds": _next_check | _answer.decision == "wait"},
])

# METADATA
# description: What packages on trial would have said; apart, so that their faults cannot touch a verdict.
# entrypoint: true
shadow := rules.on_trial("monitoring")

_answer := v.answer("monitoring", {"deny": _deny, "wait": _wait, "warn": _warn, "facts": _facts})

_sound if {
	is_array(input.steps)
	is_number(time.parse_rfc3339_ns(input.workflow.status.monitoringStartTime))
	is_number(time.parse_rfc3339_ns(input.now))
}

_deny contains {
	"code": "input_incomplete",
	"message": "the question lacks the started steps, the time or the start of monitoring",
	"policy": "monitoring",
	"remedy": "the controller did not ask as this policy expects: deploy the controller and the policies of one release",
} if not _sound

# What each step acted on, by its place in the list. Telling it costs the most of all that is done here.
_acted_on[place] := target if {
	some place, step in input.steps
	target := targets.of(step)
}

# What completed steps acted on. Pods come and go by design, so their owners' health is what counts.

_targets[targets.label(target)] contains target if {
	some place, target in _acted_on
	input.steps[place].status == "completed"
	target.kind in {"Deployment", "StatefulSet", "DaemonSet", "Node"}
	is_string(target.name)
}

_facts contains object.union(target, {"id": id, "verb": "get"}) if {
	some id, found in _targets
	some target in found
}

_facts contains request if {
	data.kubernaut.settings["alertmanager-url"] != ""
	some request in alerts.requests(_touched | _looked_at)
}

# What may have set off an alert: that of failed steps as well, if anything was sent.
_touched contains target if {
	some place, target in _acted_on
	input.steps[place].operationsSent == true
}

# Where the alert that the workflow was made for is looked for, besides.
_looked_at contains target if {
	some place, target in _acted_on
	input.steps[place].status == "completed"
}

_settled if v.settled("monitoring", _facts)

_healthy contains id if {
	some id, _ in _targets
	_is_healthy(input.facts[id].object)
}

_is_healthy(target) if {
	target.kind in {"StatefulSet", "DaemonSet"}
	workloads.rolled_out(target)
}

# A node that takes no pods may be just what was wanted.
_is_healthy(target) if {
	target.kind == "Node"
	workloads.condition(target, "Ready") == "True"
}

_is_healthy(target) if {
	target.kind == "Deployment"
	workloads.rolled_out(target)
	workloads.deployment_healthy(target)
}

_unhealthy := object.keys(_targets) - _healthy

# Alerts.

default _new_alerts := set()

_new_alerts := alerts.new(_touched, input.workflow.status.executionStartTime)

_still_firing := alerts.own(_touched | _looked_at)

_warn contains {
	"code": "alerts_unknown",
	"message": sprintf("not all alerts are known: %s", [why]),
	"policy": "monitoring",
	"remedy": "see whether the setting alertmanager-url is right, and the Alertmanager answers",
} if {
	some why in alerts.unknown(_touched | _looked_at)
}

_recommended := array.concat(
	[sprintf("look at %s", [id]) | some id in sort(_unhealthy)],
	array.concat(
		[sprintf("look at the alert %s, which began after the workflow did", [name]) | some name in _names(_new_alerts)],
		[sprintf("look at the alert %s: the workflow was made for it, and it still fires", [name]) | some name in _names(_still_firing)],
	),
)

_names(found) := sort({alerts.words(alert) | some alert in found})

_first(names) := concat(", ", array.slice(names, 0, 5))

# Time: stable for the window, which is no longer than the whole of monitoring may take. A missing setting means the longest window.

_elapsed := clock.counted(input.workflow.status.monitoringStartTime)

_limit := clock.seconds(input.workflow.spec.timeouts.monitoring) if {
	is_string(input.workflow.spec.timeouts.monitoring)
} else := clock.setting("monitoring-timeout")

default _stability := 3600

_stability := clock.setting("monitoring-stability")

_window := min(array.concat([_stability], [limit | limit := _limit]))

# Since when all are healthy, as far as the workloads themselves tell.
_calm := min(array.concat([_elapsed], [clock.elapsed(condition.lastTransitionTime) |
	some id, _ in _targets
	some condition in input.facts[id].object.status.conditions
	condition.type in {"Available", "Ready"}
]))

_watched if _calm >= _window

# Everything that may be said at the very end of monitoring has been said.
_over if _elapsed >= _limit

_deny contains {
	"code": "target_unhealthy",
	"message": sprintf("%s is not healthy at the end of monitoring", [id]),
	"policy": "monitoring",
	"remedy": "look at its pods and events",
} if {
	_sound
	_settled
	_over
	some id in _unhealthy
}

_deny contains {
	"code": "new_alerts",
	"message": sprintf("alerts about what was touched began after the workflow did: %s", [_first(_names(_new_alerts))]),
	"policy": "monitoring",
	"remedy": "look at the Alertmanager",
} if count(_new_alerts) > 0

_wait contains {
	"code": "not_healthy_yet",
	"message": sprintf("%s is not healthy", [id]),
	"policy": "monitoring",
	"remedy": "it is waited for until the monitoring timeout; look at its pods and events",
} if {
	_settled
	some id in _unhealthy
}

_wait contains {
	"code": "stability_window",
	"message": sprintf("what was touched has to stay healthy for %v seconds", [_window]),
	"policy": "monitoring",
	"remedy": "nothing has to be done; the setting monitoring-stability says how long",
} if {
	count(_unhealthy) == 0
	not _watched
	not _over
}

default _next_check := 1

_next_check := max([0.05, min([_window - _calm, 10])]) if {
	count(_unhealthy) == 0
	_window > _calm
}

# What it amounts to.

_done := [step | some step in input.steps; step.status == "completed"]

_whole if {
	count(_done) > 0
	count(_done) == input.workflow.status.totalSteps
}

default _outcome := "partial_success"

_outcome := "failed" if {
	_answer.decision == "deny"
} else := "unknown" if {
	_answer.decision == "wait"
} else := "success" if {
	_whole
}

default _health := "unknown"

_health := "healthy" if {
	_settled
	count(_unhealthy) == 0
} else := "degraded" if {
	_settled
	count(_healthy) > 0
} else := "unhealthy" if {
	_settled
}

default _score := 0

_score := floor(((100 * min([1, count(_done) / input.workflow.status.totalSteps])) * _weight[_health]) * _relief) / 100 if {
	input.workflow.status.totalSteps > 0
}

default _relief := 1

_relief := 0.5 if count(_still_firing) > 0

_weight := {"healthy": 1, "degraded": 0.75, "unhealthy": 0.5, "unknown": 0}

default _failure_reason := "monitoring_failed"

_failure_reason := "workflow_triggered_new_alerts" if {
	count(_new_alerts) > 0
} else := "policy_denied" if {
	v.denied_by_team(_answer)
}

default _rollback := false

# Only on what is known: an incomplete question undoes nothing.
_rollback if {
	_sound
	_answer.decision == "deny"
	object.get(input.workflow.spec, ["executionStrategy", "rollbackStrategy"], "automatic") == "automatic"
	count(undo.candidates(input.steps)) > 0
}
