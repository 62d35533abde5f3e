package kubernaut.rules.action.production_floor_test

import data.kubernaut.gates.action
import data.kubernaut.rules.action.production_floor
import data.kubernaut.testing.objects
import data.kubernaut.testing.questions as q

_asked(environment, parameters) := {
	"workflow": {"spec": {"alertContext": {"environment": environment}}},
	"step": {"parameters": parameters},
}

test_deny[note] if {
	some note, tc in {
		"a Deployment is not scaled to zero in production": {
			"in": _asked("production", {"scaleDeployment": {"deployment": "web", "replicas": 0}}),
			"want": {"scale_to_zero_in_production"},
		},
		"neither is a StatefulSet": {
			"in": _asked("production", {"scaleStatefulset": {"statefulset": "db", "replicas": 0}}),
			"want": {"scale_to_zero_in_production"},
		},
		"one replica is enough": {"in": _asked("production", {"scaleDeployment": {"deployment": "web", "replicas": 1}}), "want": set()},
		"elsewhere zero is fine": {"in": _asked("staging", {"scaleDeployment": {"deployment": "web", "replicas": 0}}), "want": set()},
		"nothing is said of an empty question": {"in": {}, "want": set()},
	}
	denied := production_floor.deny with input as tc["in"]
	{reason.code | some reason in denied} == tc.want
}

_patch(kind, type, patch) := {"patchResource": {
	"apiVersion": "apps/v1",
	"kind": kind,
	"name": "web",
	"patchType": type,
	"patch": patch,
}}

_none := {"spec": {"replicas": 0}}

_entry(op, path, value) := [{"op": op, "path": path, "value": value}]

test_a_patch_to_zero_is_denied_by_its_words[note] if {
	some note, tc in {
		"a strategic patch": {"p": _patch("Deployment", "strategic", _none), "denied": true},
		"a merge patch of a StatefulSet": {"p": _patch("StatefulSet", "merge", _none), "denied": true},
		"an apply patch of a ReplicaSet": {"p": _patch("ReplicaSet", "apply", _none), "denied": true},
		"a JSON patch that replaces": {"p": _patch("Deployment", "json", _entry("replace", "/spec/replicas", 0)), "denied": true},
		"a JSON patch that adds": {"p": _patch("Deployment", "json", _entry("add", "/spec/replicas", 0)), "denied": true},
		"a JSON patch of the whole spec": {"p": _patch("Deployment", "json", _entry("replace", "/spec", {"replicas": 0})), "denied": true},
		"a JSON patch that only tests": {"p": _patch("Deployment", "json", _entry("test", "/spec/replicas", 0)), "denied": false},
		"a JSON patch of something else": {"p": _patch("Deployment", "json", _entry("add", "/spec/minReadySeconds", 0)), "denied": false},
		"one replica": {"p": _patch("Deployment", "merge", {"spec": {"replicas": 1}}), "denied": false},
		"no replicas": {"p": _patch("Deployment", "merge", {"spec": {"paused": true}}), "denied": false},
		"a kind without replicas": {"p": _patch("ConfigMap", "merge", _none), "denied": false},
	}
	denied := production_floor.deny with input as _asked("production", tc.p)
	{true | some _ in denied} == {true | tc.denied}
	elsewhere := production_floor.deny with input as _asked("staging", tc.p)
	count(elsewhere) == 0
}

test_a_patch_to_zero_is_denied_by_what_it_comes_to[note] if {
	copying := _patch("Deployment", "json", [{"op": "copy", "path": "/spec/replicas", "from": "/spec/minReadySeconds"}])
	some note, tc in {
		"whatever its words are": {"p": copying, "before": objects.deployment, "after": objects.scaled(0), "denied": true},
		"where nothing said how many there were": {
			"p": copying,
			"before": json.remove(objects.deployment, ["spec/replicas"]),
			"after": objects.scaled(0),
			"denied": true,
		},
		"something is left": {"p": copying, "before": objects.deployment, "after": objects.scaled(1), "denied": false},
		"it was at zero before": {"p": copying, "before": objects.scaled(0), "after": objects.scaled(0), "denied": false},
		"the preview is refused": {
			"p": _patch("Deployment", "merge", _none),
			"before": objects.deployment,
			"after": {},
			"denied": true,
		},
	}
	question := object.union(_asked("production", tc.p), {"facts": {
		"object": objects.found(tc.before),
		"preview": _answered(tc.after),
	}})
	denied := production_floor.deny with input as question
	{true | some _ in denied} == {true | tc.denied}
}

_answered(after) := objects.found(after) if count(after) > 0

_answered(after) := objects.unknown("error") if count(after) == 0

test_what_is_on_record_may_be_taken_back if {
	scaled := {"scaleDeployment": {"deployment": "web", "replicas": 0}}
	every parameters in [scaled, _patch("Deployment", "merge", _none)] {
		denied := production_floor.deny with input as object.union(_asked("production", parameters), {"undo": []})
		count(denied) == 0
	}
}

test_the_gate_denies_a_patch_to_zero if {
	question := json.patch(q.action, [
		{"op": "add", "path": "/workflow/spec/alertContext", "value": {"environment": "production"}},
		{"op": "replace", "path": "/step/action", "value": "patch_resource"},
		{"op": "replace", "path": "/step/parameters", "value": _patch("Deployment", "strategic", _none)},
		{"op": "replace", "path": "/facts", "value": {
			"object": objects.found(objects.deployment),
			"preview": objects.found(objects.scaled(0)),
		}},
	])
	got := action.verdict with input as question with data.kubernaut.settings as q.settings
	[got.decision, q.codes(got), got.operations] == ["deny", {"scale_to_zero_in_production"}, []]
}

test_the_denial_says_what_would_be_right if {
	denied := production_floor.deny with input as _asked("production", {"scaleDeployment": {"deployment": "web", "replicas": 0}})
	every reason in denied {
		count(reason.remedy) > 0
	}
}
