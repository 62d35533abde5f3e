package kubernaut.lib.alerts_test

import data.kubernaut.lib.alerts

_web := {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"}

_db := {"apiVersion": "apps/v1", "kind": "StatefulSet", "namespace": "shop", "name": "db"}

_agent := {"apiVersion": "apps/v1", "kind": "DaemonSet", "namespace": "shop", "name": "agent"}

_pod := {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web-7d4b9c-x2x7k"}

_pods := {"apiVersion": "v1", "kind": "Pod", "namespace": "shop"}

_node := {"apiVersion": "v1", "kind": "Node", "name": "n-1.example"}

_job := {"apiVersion": "batch/v1", "kind": "Job", "namespace": "shop", "name": "migrate"}

_began := "2026-01-01T00:00:00Z"

_alert(labels, began) := {"fingerprint": "f-1", "startsAt": began, "labels": labels}

_asked(found, context) := {
	"workflow": {"spec": context},
	"facts": {id: {"available": true, "found": true, "items": found} | some id in ["alerts/namespaces", "alerts/nodes", "alerts/instances"]},
}

_new(target, labels, began, context) := count(got) if {
	# regal ignore:with-outside-test-context
	got := alerts.new({target}, _began) with input as _asked([_alert(labels, began)], context)
}

test_which_alerts_concern_what_was_touched[note] if {
	some note, tc in {
		"one that names the Deployment": {"of": _web, "labels": {"namespace": "shop", "deployment": "web"}, "want": 1},
		"one of a Deployment of that name elsewhere": {"of": _web, "labels": {"namespace": "bank", "deployment": "web"}, "want": 0},
		"one of another Deployment": {"of": _web, "labels": {"namespace": "shop", "deployment": "api"}, "want": 0},
		"one of a StatefulSet of that name": {"of": _web, "labels": {"namespace": "shop", "statefulset": "web"}, "want": 0},
		"one of the Deployment, with the pod that reported it": {
			"of": _web,
			"labels": {"namespace": "shop", "deployment": "web", "pod": "kube-state-metrics-5f7d-zzzzz"},
			"want": 1,
		},
		"one of a pod of the Deployment": {"of": _web, "labels": {"namespace": "shop", "pod": "web-7d4b9c-x2x7k"}, "want": 1},
		"one of a pod of a Deployment whose name begins so": {
			"of": _web,
			"labels": {"namespace": "shop", "pod": "web-admin-7d4b9c-x2x7k"},
			"want": 0,
		},
		"one of a pod of a DaemonSet whose name begins so": {
			"of": _web,
			"labels": {"namespace": "shop", "pod": "web-admin-x2x7k"},
			"want": 0,
		},
		"one of a pod of a Deployment with a long name": {
			"of": object.union(_web, {"name": "a-name-of-more-than-forty-six-characters-in-length"}),
			"labels": {"namespace": "shop", "pod": "a-name-of-more-than-forty-six-characters-in-length-7d4b9c6x2x7k"},
			"want": 1,
		},
		"one of a ReplicaSet of the Deployment": {"of": _web, "labels": {"namespace": "shop", "replicaset": "web-7d4b9c"}, "want": 1},
		"one of an application of that name": {"of": _web, "labels": {"namespace": "shop", "app": "web"}, "want": 1},
		"one of another application": {"of": _web, "labels": {"namespace": "shop", "service": "api"}, "want": 0},
		"one of the namespace": {"of": _web, "labels": {"namespace": "shop", "severity": "page"}, "want": 1},
		"one of another namespace": {"of": _web, "labels": {"namespace": "bank"}, "want": 0},
		"one without a namespace": {"of": _web, "labels": {"severity": "page"}, "want": 0},
		"one that names the Deployment in no namespace": {"of": _web, "labels": {"deployment": "web"}, "want": 0},
		"one of a node": {"of": _web, "labels": {"namespace": "shop", "node": "n-1.example"}, "want": 0},
		"one of a pod of the StatefulSet": {"of": _db, "labels": {"namespace": "shop", "pod": "db-0"}, "want": 1},
		"one of a pod that only looks so": {"of": _db, "labels": {"namespace": "shop", "pod": "db-backup"}, "want": 0},
		"one of a pod of the DaemonSet": {"of": _agent, "labels": {"namespace": "shop", "pod": "agent-x2x7k"}, "want": 1},
		"one of the job, not of what scrapes": {"of": _job, "labels": {"namespace": "shop", "job": "kube", "job_name": "migrate"}, "want": 1},
		"one of the pod": {"of": _pod, "labels": {"namespace": "shop", "pod": "web-7d4b9c-x2x7k"}, "want": 1},
		"one of the pod in its place": {"of": _pod, "labels": {"namespace": "shop", "pod": "web-7d4b9c-zzzzz"}, "want": 1},
		"one of the pod's Deployment": {"of": _pod, "labels": {"namespace": "shop", "deployment": "web"}, "want": 1},
		"one of the pod's application": {"of": _pod, "labels": {"namespace": "shop", "app": "web"}, "want": 1},
		"one of a stranger's pod": {"of": _pod, "labels": {"namespace": "shop", "pod": "api-7d4b9c-x2x7k"}, "want": 0},
		"one of any pod where a selector was given": {"of": _pods, "labels": {"namespace": "shop", "pod": "api-7d4b9c-x2x7k"}, "want": 0},
		"one of the namespace where a selector was given": {"of": _pods, "labels": {"namespace": "shop"}, "want": 1},
		"one of the node": {"of": _node, "labels": {"node": "n-1.example"}, "want": 1},
		"one of the node, told by who watches it": {"of": _node, "labels": {"namespace": "watch", "node": "n-1.example"}, "want": 1},
		"one of the node's own exporter": {"of": _node, "labels": {"namespace": "watch", "instance": "n-1.example:9100"}, "want": 1},
		"one of another node": {"of": _node, "labels": {"node": "n-2.example"}, "want": 0},
		"one of something else on the node": {"of": _node, "labels": {"namespace": "shop"}, "want": 0},
		"one whose labels are none": {"of": _web, "labels": "all", "want": 0},
	}
	_new(tc.of, tc.labels, "2026-01-01T00:01:00Z", {}) == tc.want
}

test_when_an_alert_is_new[note] if {
	some note, tc in {
		"it began afterwards": {"began": "2026-01-01T00:00:01Z", "context": {}, "want": 1},
		"it began before": {"began": "2025-12-31T23:59:59Z", "context": {}, "want": 0},
		"nobody knows when it began": {"began": "soon", "context": {}, "want": 0},
		"it is the workflow's own": {
			"began": "2026-01-01T00:00:01Z",
			"context": {"alertContext": {"fingerprint": "f-1"}},
			"want": 0,
		},
		"the workflow was made for another": {
			"began": "2026-01-01T00:00:01Z",
			"context": {"alertContext": {"fingerprint": "f-2"}},
			"want": 1,
		},
	}
	_new(_web, {"namespace": "shop"}, tc.began, tc.context) == tc.want
}

test_the_workflow_s_own_alert_is_found_whatever_it_names[note] if {
	some note, tc in {
		"its own": {"context": {"alertContext": {"fingerprint": "f-1"}}, "want": 1},
		"another one": {"context": {"alertContext": {"fingerprint": "f-2"}}, "want": 0},
		"none": {"context": {}, "want": 0},
	}
	got := alerts.own({_web}) with input as _asked([_alert({"pod": "any"}, _began)], tc.context)
	count(got) == tc.want
}

test_only_what_may_concern_the_objects_is_asked_for[note] if {
	some note, tc in {
		"a namespace": {"of": {_web, _db}, "want": {"alerts/namespaces": `namespace=~"shop"`}},
		"two namespaces": {
			"of": {_web, object.union(_db, {"namespace": "bank"})},
			"want": {"alerts/namespaces": `namespace=~"bank|shop"`},
		},
		"a node": {
			"of": {_node},
			"want": {
				"alerts/nodes": `node=~"n-1[.]example"`,
				"alerts/instances": `instance=~"(n-1[.]example)(:[0-9]+)?"`,
			},
		},
		"nothing": {"of": set(), "want": {}},
		"a name that would mean more": {"of": {object.union(_web, {"namespace": `x",y="`})}, "want": {}},
	}
	got := alerts.requests(tc.of)
	{request.id: request.labelSelector | some request in got} == tc.want
	every request in got {
		[request.verb, request.optional] == ["alerts", true]
	}
}

test_what_is_not_known_is_told[note] if {
	some note, tc in {
		"not read yet": {"fact": {}, "want": set()},
		"read": {"fact": {"available": true, "items": [], "truncated": false}, "want": set()},
		"not to be had": {"fact": {"available": false, "message": "it said 500"}, "want": {"it said 500"}},
		"not to be had, without words": {"fact": {"available": false}, "want": {"nobody says why"}},
		"too many": {
			"fact": {"available": true, "items": [], "truncated": true},
			"want": {"there are more alerts than are read at once"},
		},
	}
	got := alerts.unknown({_web}) with input as {"facts": {"alerts/namespaces": tc.fact}}
	got == tc.want
}

test_an_alert_is_called_by_its_name if {
	alerts.words(_alert({"alertname": "HighErrorRate"}, _began)) == "HighErrorRate"
	alerts.words(_alert({}, _began)) == "f-1"
}
