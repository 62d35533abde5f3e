# METADATA
# title: Monitoring
# description: Did the workflow help? Waits until what it touched has been healthy for the window of the setting monitoring-stability.
# scope: subpackages
# schemas:
#   - input: schema.monitoring_input
package kubernaut.gates.monitoring

import data.kubernaut.lib.clock
import data.kubernaut.lib.verdict as v

# METADATA
# description: The whole answer; defined for every input.
# entrypoint: true
default verdict := {
	"decision": "deny",
	"reasons": [{"code": "verdict_undefined", "message": "the gate could not judge this question", "policy": "monitoring"}],
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
	v.document(deny, wait, warn, facts),
	{
		"outcome": _outcome,
		"effectiveness_score": _score,
		"resource_health": _health,
		"new_alerts": false,
		"recommended_actions": [sprintf("look at %s", [id]) | some id in sort(_unhealthy)],
		"rollback": false,
	},
	{"next_check_seconds": max([0.05, _left]) | count(wait) > 0},
])

# METADATA
# description: What packages on trial would have said.
# entrypoint: true
shadow contains v.reason(sprintf("shadow.monitoring.%s", [name]), r) if {
	some name
	some r in data.kubernaut.shadow.monitoring[name].deny
}

_asked if {
	is_array(input.steps)
	is_string(input.workflow.status.monitoringStartTime)
}

# The workloads that completed steps touched.

_targets contains target if {
	some step in input.steps
	step.status == "completed"
	target := data.kubernaut.actions[step.action].target with input.step as step
	target.kind in {"Deployment", "StatefulSet", "DaemonSet"}
}

_id(target) := sprintf("%s/%s/%s", [target.kind, target.namespace, target.name])

facts contains object.union(target, {"id": _id(target), "verb": "get"}) if some target in _targets

facts contains r if {
	some name
	some r in data.kubernaut.rules.monitoring[name].facts
}

_healthy contains _id(target) if {
	some target in _targets
	workload := input.facts[_id(target)].object
	workload.status.observedGeneration >= workload.metadata.generation
	object.get(workload.status, "readyReplicas", object.get(workload.status, "numberReady", 0)) >= _wanted(workload)
}

_wanted(workload) := workload.spec.replicas if {
	is_number(workload.spec.replicas)
} else := workload.status.desiredNumberScheduled

_unhealthy contains id if {
	some target in _targets
	id := _id(target)
	not id in _healthy
}

_window := clock.setting("monitoring-stability")

default _left := 1

_left := _window - clock.elapsed(input.workflow.status.monitoringStartTime) if count(_unhealthy) == 0

_watched_long_enough if clock.elapsed(input.workflow.status.monitoringStartTime) >= _window

_incomplete contains step.stepNumber if {
	some step in input.steps
	step.status in {"failed", "skipped"}
}

default _outcome := "unknown"

_outcome := "success" if {
	count(_unhealthy) == 0
	count(_incomplete) == 0
} else := "partial_success" if {
	count(_unhealthy) == 0
}

default _score := 0

_score := floor((100 * count(_good)) / count(input.steps)) / 100 if count(input.steps) > 0

_good contains step.stepNumber if {
	some step in input.steps
	step.status == "completed"
}

default _health := "unknown"

_health := "healthy" if {
	count(_unhealthy) == 0
} else := "degraded" if {
	count(_healthy) > 0
} else := "unhealthy"

deny contains {"code": "input_incomplete", "message": "the question lacks the steps or the start", "policy": "monitoring"} if not _asked

deny contains v.fact_conflict(id) if some id in v.conflicts(facts)

deny contains v.reason(sprintf("rules.monitoring.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.monitoring[name].deny
}

deny contains v.not_a_set(sprintf("rules.monitoring.%s", [name]), rule) if {
	some rule in {"deny", "wait", "warn", "facts"}
	some name
	value := data.kubernaut.rules.monitoring[name][rule]
	type_name(value) != "set"
}

wait contains {
	"code": "not_healthy_yet",
	"message": sprintf("%s is not healthy", [id]),
	"policy": "monitoring",
} if {
	v.settled(facts)
	some id in _unhealthy
}

wait contains {
	"code": "stability_window",
	"message": "what was touched has to stay healthy for a while",
	"policy": "monitoring",
} if not _watched_long_enough

wait contains v.reason(sprintf("rules.monitoring.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.monitoring[name].wait
}

warn contains v.reason(sprintf("rules.monitoring.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.monitoring[name].warn
}
