package kubernaut.gates.monitoring_test

import data.kubernaut.gates.monitoring
import data.kubernaut.testing.objects
import data.kubernaut.testing.questions as q

_fact := "/facts/Deployment~1shop~1web"

_sick := q.put(q.monitoring, _fact, objects.found(json.patch(objects.deployment, [
	{
		"op": "add",
		"path": "/status/readyReplicas",
		"value": 1,
	},
	{
		"op": "add",
		"path": "/status/availableReplicas",
		"value": 1,
	},
])))

_at(question, now) := q.put(question, "/now", now)

_told(got) := [got.decision, got.outcome, got.resource_health, q.codes(got)]

_daemonset := {
	"kind": "DaemonSet",
	"metadata": {"name": "agent", "generation": 1},
	"status": {"observedGeneration": 1, "desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberAvailable": 1},
}

test_decision[note] if {
	some note, tc in {
		"healthy for the whole window is a success": {"in": q.monitoring, "want": ["allow", "success", "healthy", set()]},
		"the empty question is denied": {"in": {}, "want": ["deny", "failed", "healthy", {"input_incomplete", "stability_window"}]},
		"a time that is none is denied": {
			"in": _at(q.monitoring, "now"),
			"want": ["deny", "failed", "healthy", {"input_incomplete", "stability_window"}],
		},
		"healthy but not for long enough is waited for": {
			"in": _at(q.monitoring, "2026-01-01T00:05:30Z"),
			"want": ["wait", "unknown", "healthy", {"stability_window"}],
		},
		"healthy again only a moment ago is waited for": {
			"in": q.put(q.monitoring, concat("", [_fact, "/object/status/conditions/0/lastTransitionTime"]), "2026-01-01T00:09:50Z"),
			"want": ["wait", "unknown", "healthy", {"stability_window"}],
		},
		"at the very end what is healthy is enough": {
			"in": _at(
				q.put(q.monitoring, concat("", [_fact, "/object/status/conditions/0/lastTransitionTime"]), "2026-01-01T00:14:50Z"),
				"2026-01-01T00:15:00Z",
			),
			"want": ["allow", "success", "healthy", set()],
		},
		"a window longer than all of monitoring is cut": {
			"in": _at(q.put(q.monitoring, "/workflow/spec/timeouts", {"monitoring": "20s"}), "2026-01-01T00:05:20Z"),
			"want": ["allow", "success", "healthy", set()],
		},
		"time that counts against no limit is no time of calm": {
			"in": q.put(q.monitoring, "/workflow/status/uncountedSeconds", 270),
			"want": ["wait", "unknown", "healthy", {"stability_window"}],
		},
		"time that counts against no limit does not bring the end": {
			"in": _at(q.put(_sick, "/workflow/status/uncountedSeconds", 1), "2026-01-01T00:15:00Z"),
			"want": ["wait", "unknown", "unhealthy", {"not_healthy_yet"}],
		},
		"unhealthy is waited for": {"in": _sick, "want": ["wait", "unknown", "unhealthy", {"not_healthy_yet"}]},
		"unhealthy at the end is a failure": {
			"in": _at(_sick, "2026-01-01T00:15:00Z"),
			"want": ["deny", "failed", "unhealthy", {"not_healthy_yet", "target_unhealthy"}],
		},
		"a fact that is not known is waited for": {
			"in": q.put(q.monitoring, "/facts", {}),
			"want": ["wait", "unknown", "unknown", {"fact_missing"}],
		},
		"a target that is gone is not healthy": {
			"in": q.put(q.monitoring, _fact, objects.absent),
			"want": ["wait", "unknown", "unhealthy", {"not_healthy_yet"}],
		},
		"a step that was left out makes it partial": {
			"in": q.put(q.monitoring, "/workflow/status/totalSteps", 3),
			"want": ["allow", "partial_success", "healthy", set()],
		},
		"a failed step's target does not count": {
			"in": json.patch(_sick, [{"op": "add", "path": "/steps", "value": []}]),
			"want": ["allow", "partial_success", "healthy", set()],
		},
	}
	got := monitoring.verdict with input as tc["in"] with data.kubernaut.settings as q.settings
	_told(got) == tc.want
}

# The second step acts on something else.
_beside(target) := {
	"scale_deployment": {"target": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"}},
	"restart_deployment": {"target": target},
}

test_one_of_two_targets_unhealthy_is_degraded if {
	target := {"apiVersion": "apps/v1", "kind": "DaemonSet", "namespace": "shop", "name": "agent"}
	got := monitoring.verdict with input as q.put(_sick, "/facts/DaemonSet~1shop~1agent", objects.found(_daemonset))
		with data.kubernaut.settings as q.settings
		with data.kubernaut.actions as _beside(target)
	[got.resource_health, got.recommended_actions] == ["degraded", ["look at Deployment/shop/web"]]
}

_statefulset(ready) := {
	"kind": "StatefulSet",
	"metadata": {"name": "db", "generation": 1},
	"spec": {"replicas": 2},
	"status": {
		"observedGeneration": 1,
		"updateRevision": "db-1",
		"currentRevision": "db-1",
		"replicas": 2,
		"readyReplicas": ready,
		"availableReplicas": ready,
	},
}

_node(ready, since) := json.patch(objects.node, [
	{"op": "add", "path": "/spec/unschedulable", "value": true},
	{"op": "add", "path": "/status/conditions", "value": [{"type": "Ready", "status": ready, "lastTransitionTime": since}]},
])

test_health_of_what_is_no_deployment[note] if {
	some note, tc in {
		"a StatefulSet that is whole": {"kind": "StatefulSet", "is": _statefulset(2), "want": ["allow", "healthy"]},
		"a StatefulSet that is not": {"kind": "StatefulSet", "is": _statefulset(1), "want": ["wait", "degraded"]},
		"a DaemonSet that is whole": {"kind": "DaemonSet", "is": _daemonset, "want": ["allow", "healthy"]},
		"a DaemonSet that is not": {
			"kind": "DaemonSet",
			"is": object.union(_daemonset, {"status": {"numberAvailable": 0}}),
			"want": ["wait", "degraded"],
		},
		"a node that is ready, and takes no pods": {
			"kind": "Node",
			"is": _node("True", "2025-12-01T00:00:00Z"),
			"want": ["allow", "healthy"],
		},
		"a node that is ready for a moment": {
			"kind": "Node",
			"is": _node("True", "2026-01-01T00:09:50Z"),
			"want": ["wait", "healthy"],
		},
		"a node that is not ready": {"kind": "Node", "is": _node("Unknown", "2025-12-01T00:00:00Z"), "want": ["wait", "degraded"]},
	}
	target := {"apiVersion": "v1", "kind": tc.kind, "namespace": "shop", "name": "other"}
	got := monitoring.verdict with input as q.put(q.monitoring, sprintf("/facts/%s~1shop~1other", [tc.kind]), objects.found(tc.is))
		with data.kubernaut.settings as q.settings
		with data.kubernaut.actions as _beside(target)
	[got.decision, got.resource_health] == tc.want
}

test_the_score[note] if {
	some note, tc in {
		"everything was done, and is healthy": {"in": q.monitoring, "want": 1},
		"the share of the steps that was done": {"in": q.put(q.monitoring, "/workflow/status/totalSteps", 3), "want": 0.66},
		"nothing is healthy": {"in": _sick, "want": 0.5},
		"nobody knows how it is": {"in": q.put(q.monitoring, "/facts", {}), "want": 0},
		"the workflow's own alert still fires": {"in": _own, "want": 0.5},
		"the workflow's own alert still fires, and nothing is healthy": {
			"in": q.put(_own, _fact, _sick.facts["Deployment/shop/web"]),
			"want": 0.25,
		},
		"nothing was to be done": {"in": q.put(q.monitoring, "/workflow/status/totalSteps", 0), "want": 0},
	}
	got := monitoring.verdict with input as tc["in"] with data.kubernaut.settings as q.settings
	got.effectiveness_score == tc.want
}

test_one_unhealthy_of_two_takes_a_quarter_off_the_score if {
	target := {"apiVersion": "apps/v1", "kind": "DaemonSet", "namespace": "shop", "name": "agent"}
	got := monitoring.verdict with input as q.put(_sick, "/facts/DaemonSet~1shop~1agent", objects.found(_daemonset))
		with data.kubernaut.settings as q.settings
		with data.kubernaut.actions as _beside(target)
	got.effectiveness_score == 0.75
}

test_it_asks_again_when_the_window_ends if {
	got := monitoring.verdict with input as _at(q.monitoring, "2026-01-01T00:05:58Z")
		with data.kubernaut.settings as q.settings
	got.next_check_seconds == 2
}

test_it_asks_again_soon_while_something_is_unhealthy if {
	got := monitoring.verdict with input as _sick with data.kubernaut.settings as q.settings
	got.next_check_seconds == 1
}

test_without_settings_the_window_is_long if {
	got := monitoring.verdict with input as q.monitoring with data.kubernaut.settings as {}
	q.codes(got) == {"stability_window"}
}

_alert(began) := _firing([{"fingerprint": "f-1", "startsAt": began, "labels": {
	"alertname": "HighErrorRate",
	"namespace": "shop",
	"deployment": "web",
}}])

_firing(found) := q.put(q.monitoring, "/facts/alerts~1namespaces", objects.listed(found))

# It went, and came back while the workflow ran.
_own := q.put(_alert("2026-01-01T00:06:00Z"), "/workflow/spec/alertContext", {"fingerprint": "f-1"})

_unsent(question) := json.patch(question, [
	{"op": "add", "path": "/steps/0/operationsSent", "value": false},
	{"op": "add", "path": "/steps/1/operationsSent", "value": false},
])

test_alerts[note] if {
	some note, tc in {
		"an alert that began before changes nothing": {"in": _alert("2025-12-31T00:00:00Z"), "want": ["allow", false]},
		"an alert that began afterwards is a failure": {"in": _alert("2026-01-01T00:06:00Z"), "want": ["deny", true]},
		"an alert about something else changes nothing": {
			"in": q.put(_alert("2026-01-01T00:06:00Z"), "/facts/alerts~1namespaces/items/0/labels/deployment", "api"),
			"want": ["allow", false],
		},
		"an alert about what was only looked at changes nothing": {
			"in": _unsent(_alert("2026-01-01T00:06:00Z")),
			"want": ["allow", false],
		},
		"an alert about what a failed step changed is a failure": {
			"in": json.patch(_alert("2026-01-01T00:06:00Z"), [
				{"op": "add", "path": "/steps/0/status", "value": "failed"},
				{"op": "add", "path": "/steps/1/operationsSent", "value": false},
			]),
			"want": ["deny", true],
		},
		"the alert that the workflow was made for is not a new one": {"in": _own, "want": ["allow", false]},
		"without the time of the start no alert is new": {
			"in": q.without(_alert("2026-01-01T00:06:00Z"), "/workflow/status/executionStartTime"),
			"want": ["allow", false],
		},
		"alerts that cannot be read are not waited for": {
			"in": q.put(q.monitoring, "/facts/alerts~1namespaces", objects.unknown("timeout")),
			"want": ["allow", false],
		},
	}
	got := monitoring.verdict with input as tc["in"]
		with data.kubernaut.settings as object.union(q.settings, {"alertmanager-url": "http://alerts.example"})
	{request.id | some request in got.facts} & {"alerts/namespaces"} == {"alerts/namespaces"}
	[got.decision, got.new_alerts] == tc.want
}

test_without_an_alertmanager_nobody_is_asked if {
	got := monitoring.verdict with input as q.monitoring with data.kubernaut.settings as q.settings
	{request.id | some request in got.facts} == {"Deployment/shop/web"}
}

test_alerts_that_are_not_known_are_warned_of_and_change_nothing if {
	unknown := {"available": false, "reason": "error", "message": "the Alertmanager answered 500"}
	got := monitoring.verdict with input as q.put(q.monitoring, "/facts/alerts~1namespaces", unknown)
		with data.kubernaut.settings as q.settings
	[got.decision, got.outcome, got.effectiveness_score] == ["allow", "success", 1]
	{[warning.code, warning.message] | some warning in got.warnings} == {[
		"alerts_unknown",
		"not all alerts are known: the Alertmanager answered 500",
	]}
}

test_what_to_do_about_alerts_is_told[note] if {
	some note, tc in {
		"a new one": {
			"in": _alert("2026-01-01T00:06:00Z"),
			"want": ["look at the alert HighErrorRate, which began after the workflow did"],
		},
		"its own": {"in": _own, "want": ["look at the alert HighErrorRate: the workflow was made for it, and it still fires"]},
		"its own where only looked at": {
			"in": _unsent(_own),
			"want": ["look at the alert HighErrorRate: the workflow was made for it, and it still fires"],
		},
	}
	got := monitoring.verdict with input as tc["in"] with data.kubernaut.settings as q.settings
	got.recommended_actions == tc.want
}

test_the_denial_names_the_first_new_alerts if {
	got := monitoring.verdict with input as _firing([alert |
		some number in numbers.range(1, 7)
		name := sprintf("A%d", [number])
		alert := {"fingerprint": name, "startsAt": "2026-01-01T00:06:00Z", "labels": {"alertname": name, "namespace": "shop"}}
	])
		with data.kubernaut.settings as q.settings
	got.reasons[0].message == "alerts about what was touched began after the workflow did: A1, A2, A3, A4, A5"
}

_failed := _at(_sick, "2026-01-01T00:15:00Z")

test_what_follows_from_a_failure[note] if {
	some note, tc in {
		"the steps are taken back": {"in": _failed, "want": [true, "monitoring_failed", "execution_error"]},
		"the steps stay where the workflow says so": {
			"in": q.put(_failed, "/workflow/spec/executionStrategy/rollbackStrategy", "manual"),
			"want": [false, "monitoring_failed", "execution_error"],
		},
		"alerts are taken back and named": {
			"in": _alert("2026-01-01T00:06:00Z"),
			"want": [true, "workflow_triggered_new_alerts", "execution_error"],
		},
		"an incomplete question takes nothing back": {
			"in": q.without(q.monitoring, "/workflow/status/monitoringStartTime"),
			"want": [false, "monitoring_failed", "execution_error"],
		},
	}
	got := monitoring.verdict with input as tc["in"] with data.kubernaut.settings as q.settings
	[got.rollback, got.failure_reason, got.error_type] == tc.want
}

test_a_team_may_deny if {
	got := monitoring.verdict with input as q.monitoring
		with data.kubernaut.settings as q.settings
		with data.kubernaut.rules.monitoring as {"a": {"deny": {"too_slow"}}}
	[got.outcome, got.failure_reason, got.error_type] == ["failed", "policy_denied", "policy_denied"]
}

test_a_rule_on_trial_is_heard if {
	heard := monitoring.shadow with input as q.monitoring with data.kubernaut.shadow.monitoring as {"a": {"deny": {"hm"}}}
	heard == {{"code": "hm", "message": "hm", "policy": "shadow.monitoring.a", "effect": "deny"}}
}
