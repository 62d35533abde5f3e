# METADATA
# title: Monitoring
# description: Did the workflow help? Waits until what it touched has been healthy for the window of the setting monitoring-stability.
# scope: subpackages
# schemas:
#   - input: schema.monitoring_input
package kubernaut.gates.monitoring

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
		"new_alerts": _new_alerts,
		"recommended_actions": [sprintf("look at %s", [id]) | some id in sort(_unhealthy)],
		"rollback": _rollback,
	},
	{"failure_reason": _failure_reason | _answer.decision == "deny"},
	{"next_check_seconds": _next_check | _answer.decision == "wait"},
])

# METADATA
# description: What packages on trial would have said; apart, so that their faults cannot touch a verdict.
# entrypoint: true
shadow := rules.on_trial("monitoring")

_answer := v.answer("monitoring", {"deny": _deny, "wait": _wait, "warn": set(), "facts": _facts})

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

# What completed steps acted on. Pods come and go by design, so their owners' health is what counts.

_targets[targets.label(target)] contains target if {
	some step in input.steps
	step.status == "completed"
	target := targets.of(step)
	target.kind in {"Deployment", "StatefulSet", "DaemonSet"}
	is_string(target.name)
}

_facts contains object.union(target, {"id": id, "verb": "get"}) if {
	some id, found in _targets
	some target in found
}

_facts contains {"id": "alerts", "verb": "alerts", "optional": true} if data.kubernaut.settings["alertmanager-url"] != ""

_settled if v.settled("monitoring", _facts)

_healthy contains id if {
	some id, _ in _targets
	_is_healthy(input.facts[id].object)
}

_is_healthy(workload) if {
	workload.kind != "Deployment"
	workloads.rolled_out(workload)
}

_is_healthy(workload) if {
	workload.kind == "Deployment"
	workloads.rolled_out(workload)
	workloads.deployment_healthy(workload)
}

_unhealthy := object.keys(_targets) - _healthy

# An alert of the Alertmanager that began after the workflow did.

default _new_alerts := false

_new_alerts if {
	some alert in input.facts.alerts.items
	time.parse_rfc3339_ns(alert.startsAt) > time.parse_rfc3339_ns(input.workflow.status.executionStartTime)
}

# Time: stable for the window, which is no longer than the whole of monitoring may take. A missing setting means the longest window.

_elapsed := clock.elapsed(input.workflow.status.monitoringStartTime)

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
	condition.type == "Available"
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
	"message": "alerts began after the workflow did",
	"policy": "monitoring",
	"remedy": "look at the Alertmanager",
} if _new_alerts

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

# The share of the steps that were done, halved while something is not healthy.
_score := floor((100 * min([1, count(_done) / input.workflow.status.totalSteps])) * _weight[_health]) / 100 if {
	input.workflow.status.totalSteps > 0
}

_weight := {"healthy": 1, "degraded": 0.75, "unhealthy": 0.5, "unknown": 0}

default _failure_reason := "monitoring_failed"

_failure_reason := "workflow_triggered_new_alerts" if {
	_new_alerts
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
