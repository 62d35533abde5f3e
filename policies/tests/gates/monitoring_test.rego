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

test_one_of_two_targets_unhealthy_is_degraded if {
	target := {"apiVersion": "apps/v1", "kind": "DaemonSet", "namespace": "shop", "name": "agent"}
	actions := {
		"scale_deployment": {"target": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"}},
		"restart_deployment": {"target": target},
	}
	got := monitoring.verdict with input as q.put(_sick, "/facts/DaemonSet~1shop~1agent", objects.found(_daemonset))
		with data.kubernaut.settings as q.settings
		with data.kubernaut.actions as actions
	[got.resource_health, got.recommended_actions] == ["degraded", ["look at Deployment/shop/web"]]
}

test_the_score_is_the_share_that_was_done if {
	got := monitoring.verdict with input as q.put(q.monitoring, "/workflow/status/totalSteps", 3)
		with data.kubernaut.settings as q.settings
	got.effectiveness_score == 0.66
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

_alert(began) := q.put(q.monitoring, "/facts/alerts", {"available": true, "found": true, "items": [{"startsAt": began}]})

test_alerts[note] if {
	some note, tc in {
		"an alert that began before changes nothing": {"in": _alert("2025-12-31T00:00:00Z"), "want": ["allow", false]},
		"an alert that began afterwards is a failure": {"in": _alert("2026-01-01T00:06:00Z"), "want": ["deny", true]},
		"alerts that cannot be read are not waited for": {"in": q.monitoring, "want": ["allow", false]},
	}
	got := monitoring.verdict with input as tc["in"]
		with data.kubernaut.settings as object.union(q.settings, {"alertmanager-url": "http://alerts.example"})
	{request.id | some request in got.facts} == {"alerts", "Deployment/shop/web"}
	[got.decision, got.new_alerts] == tc.want
}

_failed := _at(_sick, "2026-01-01T00:15:00Z")

test_what_follows_from_a_failure[note] if {
	some note, tc in {
		"the steps are taken back": {"in": _failed, "want": [true, "monitoring_failed"]},
		"the steps stay where the workflow says so": {
			"in": q.put(_failed, "/workflow/spec/executionStrategy/rollbackStrategy", "manual"),
			"want": [false, "monitoring_failed"],
		},
		"alerts are taken back and named": {"in": _alert("2026-01-01T00:06:00Z"), "want": [true, "workflow_triggered_new_alerts"]},
		"an incomplete question takes nothing back": {
			"in": q.without(q.monitoring, "/workflow/status/monitoringStartTime"),
			"want": [false, "monitoring_failed"],
		},
	}
	got := monitoring.verdict with input as tc["in"] with data.kubernaut.settings as q.settings
	[got.rollback, got.failure_reason] == tc.want
}

test_a_team_may_deny if {
	got := monitoring.verdict with input as q.monitoring
		with data.kubernaut.settings as q.settings
		with data.kubernaut.rules.monitoring as {"a": {"deny": {"too_slow"}}}
	[got.outcome, got.failure_reason] == ["failed", "policy_denied"]
}

test_a_rule_on_trial_is_heard if {
	heard := monitoring.shadow with input as q.monitoring with data.kubernaut.shadow.monitoring as {"a": {"deny": {"hm"}}}
	heard == {{"code": "hm", "message": "hm", "policy": "shadow.monitoring.a", "effect": "deny"}}
}
