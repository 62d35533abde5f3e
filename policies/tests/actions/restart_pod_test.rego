package kubernaut.actions.restart_pod_test

import data.kubernaut.actions.restart_pod as action
import data.kubernaut.testing.objects

named := {"restartPod": {"podName": "web-a", "gracePeriod": "5s"}}

selected := {"restartPod": {"podName": "", "selector": "app=web"}}

before(parameters, facts) := objects.question("action", "restart_pod", parameters, facts)

controller := {"kind": "ReplicaSet", "name": "web-2", "uid": "rs-2", "controller": true}

deletion(name) := {
	"do": {
		"verb": "delete",
		"apiVersion": "v1",
		"kind": "Pod",
		"namespace": "shop",
		"name": name,
		"uid": sprintf("uid-%s", [name]),
		"body": {"metadata": {"ownerReferences": [controller]}},
	},
	"undo": null,
}

test_a_named_pod_is_deleted_by_its_uid if {
	got := action.operations with input as before(named, {"pod": objects.found(objects.pod("web-a"))})
	got == [object.union(deletion("web-a"), {"do": {"gracePeriodSeconds": 5}})]
}

test_selected_pods_are_deleted_in_the_order_of_their_names if {
	leaving := object.union(objects.pod("web-c"), {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
	got := action.operations with input as before(
		selected,
		{"pods": objects.listed([objects.pod("web-b"), leaving, objects.pod("web-a")])},
	)
	got == [deletion("web-a"), deletion("web-b")]
}

test_a_pod_of_another_name_is_never_deleted if {
	got := action.operations with input as before(named, {"pod": objects.found(objects.pod("web-b"))})
	got == []
}

test_preconditions[note] if {
	declared := object.keys(action.preconditions)
	lonely := json.remove(objects.pod("web-a"), ["metadata/ownerReferences"])
	some note, tc in {
		"a named pod": {"p": named, "facts": {"pod": objects.found(objects.pod("web-a"))}, "unmet": set()},
		"selected pods": {"p": selected, "facts": {"pods": objects.listed([objects.pod("web-a")])}, "unmet": set()},
		"no such pod": {"p": named, "facts": {"pod": objects.absent}, "unmet": {"pod_exists", "pods_have_controller"}},
		"the pod is unknown": {
			"p": named,
			"facts": {"pod": objects.unknown("timeout")},
			"unmet": {"pod_exists", "pods_have_controller"},
		},
		"the selector matches nothing": {
			"p": selected,
			"facts": {"pods": objects.listed([])},
			"unmet": {"pod_exists", "pods_have_controller"},
		},
		"the selection is unknown": {"p": selected, "facts": {"pods": objects.unknown("timeout")}, "unmet": declared},
		"the selection is longer than was read": {
			"p": selected,
			"facts": {"pods": object.union(objects.listed([objects.pod("web-a")]), {"truncated": true})},
			"unmet": {"selection_complete"},
		},
		"nothing owns the pod": {"p": named, "facts": {"pod": objects.found(lonely)}, "unmet": {"pods_have_controller"}},
		"a Job owns the pod": {
			"p": named,
			"facts": {"pod": objects.found(json.patch(
				objects.pod("web-a"),
				[{"op": "replace", "path": "/metadata/ownerReferences/0/kind", "value": "Job"}],
			))},
			"unmet": {"pods_have_controller"},
		},
	}
	got := action.holds with input as before(tc.p, tc.facts)
	declared - got == tc.unmet
}

test_the_target_has_a_name_where_one_pod_is_meant[note] if {
	some note, tc in {
		"a named pod": {"p": named, "want": {"name": "web-a"}},
		"every pod that a selector matches": {"p": selected, "want": {}},
	}
	got := action.target with input as before(tc.p, {})
	got == object.union({"apiVersion": "v1", "kind": "Pod", "namespace": "shop"}, tc.want)
}

test_parameters[note] if {
	some note, tc in {
		"a name": {"p": named.restartPod, "want": true},
		"a selector": {"p": selected.restartPod, "want": true},
		"a selector alone": {"p": {"selector": "app=web"}, "want": true},
		"neither": {"p": {}, "want": false},
		"both empty": {"p": {"podName": "", "selector": ""}, "want": false},
		"a selector of blanks": {"p": {"podName": "", "selector": "  "}, "want": false},
		"a selector of a key alone": {"p": {"selector": "app"}, "want": true},
		"a selector of a key with a prefix": {"p": {"selector": "app.kubernetes.io/name==web"}, "want": true},
		"a selector of some values": {"p": {"selector": "app in (web, api)"}, "want": true},
		"a selector of some values, written closely": {"p": {"selector": "app in(web,api)"}, "want": true},
		"a selector that says what pods have, and what not": {"p": {"selector": "!canary, app = web,tier notin (db)"}, "want": true},
		"a selector of what pods lack": {"p": {"selector": "!nosuchlabel"}, "want": false},
		"a selector of a value that pods lack": {"p": {"selector": "app!=web"}, "want": false},
		"the same with blanks": {"p": {"selector": "app != web"}, "want": false},
		"a selector of values that pods lack": {"p": {"selector": "app notin (web, api)"}, "want": false},
		"a selector of many things that pods lack": {"p": {"selector": "!a,b!=c,d notin (e,f)"}, "want": false},
		"a selector of commas": {"p": {"selector": ",,"}, "want": false},
		"a selector that is a number": {"p": {"selector": 7}, "want": false},
		"a grace period in words": {"p": {"podName": "web-a", "gracePeriod": "soon"}, "want": false},
		"a name that climbs": {"p": {"podName": "../web"}, "want": false},
	}
	got := {true | action.parameters_valid with input as before({"restartPod": tc.p}, {})}
	got == {true | tc.want}
}

replicaset := objects.replicaset(2, "web:2")

# Three pods are wanted; a new one stands in for the deleted one.
whole := {
	"owner/ReplicaSet/web-2": objects.found(replicaset),
	"pods/ReplicaSet/web-2": objects.listed([objects.pod("web-b"), objects.pod("web-c"), objects.pod("web-d")]),
}

after(facts) := objects.sent("restart_pod", named, [deletion("web-a")], facts)

test_facts_are_asked_in_rounds[note] if {
	some note, tc in {
		"a named pod": {"question": before(named, {}), "want": {"pod"}},
		"the pods of a selector": {"question": before(selected, {}), "want": {"pods"}},
		"an invalid selector asks for nothing": {"question": before({"restartPod": {}}, {}), "want": set()},
		"afterwards the recorded owner": {"question": after({}), "want": {"owner/ReplicaSet/web-2"}},
		"and then its pods": {"question": after(whole), "want": object.keys(whole)},
	}
	got := action.facts with input as tc.question
	{request.id | some request in got} == tc.want
}

test_postconditions[note] if {
	declared := object.keys(action.postconditions)
	daemonset := json.patch(deletion("web-a"), [{"op": "replace", "path": "/do/body/metadata/ownerReferences/0/kind", "value": "DaemonSet"}])
	some note, tc in {
		"all hold when the owner is whole again": {"question": after(whole), "unmet": set()},
		"the pod is still there": {
			"question": after(object.union(whole, {"pods/ReplicaSet/web-2": objects.listed([
				objects.pod("web-a"), objects.pod("web-b"), objects.pod("web-c"), objects.pod("web-d"),
			])})),
			"unmet": {"pods_replaced"},
		},
		"its replacement is not ready": {
			"question": after(object.union(whole, {"pods/ReplicaSet/web-2": objects.listed([
				objects.pod("web-b"), objects.pod("web-c"), objects.waiting_pod("web-d", "ImagePullBackOff"),
			])})),
			"unmet": {"replacements_ready"},
		},
		"another owner's pods do not count": {
			"question": after(object.union(whole, {"pods/ReplicaSet/web-2": objects.listed([
				objects.pod("web-b"), objects.pod("web-c"), json.patch(
					objects.pod("web-d"),
					[{"op": "replace", "path": "/metadata/ownerReferences/0/uid", "value": "rs-9"}],
				),
			])})),
			"unmet": {"replacements_ready"},
		},
		"a DaemonSet counts its nodes": {
			"question": objects.sent("restart_pod", named, [daemonset], {
				"owner/DaemonSet/web-2": objects.found({
					"kind": "DaemonSet",
					"metadata": {"uid": "rs-2"},
					"spec": {"selector": {"matchLabels": {"app": "web"}}},
					"status": {"desiredNumberScheduled": 1},
				}),
				"pods/DaemonSet/web-2": objects.listed([objects.pod("web-d")]),
			}),
			"unmet": set(),
		},
		"the owner is gone": {
			"question": after({"owner/ReplicaSet/web-2": objects.absent}),
			"unmet": declared,
		},
		"nothing was recorded": {"question": objects.sent("restart_pod", named, [], {}), "unmet": declared},
	}
	got := action.holds with input as tc.question
	declared - got == tc.unmet
}

test_the_result_names_the_deleted_pods if {
	got := action.result with input as after(whole)
	got == {
		"success": true,
		"restartResult": {"podsRestarted": 1, "restartedPods": ["web-a"], "namespace": "shop"},
		"resourcesAffected": [{"resourceType": "Pod", "namespace": "shop", "name": "web-a", "changeType": "delete"}],
		"warnings": [],
	}
}

test_state_and_catalogue_entry if {
	got := action.state with input as before(named, {"pod": objects.found(objects.pod("web-a"))})
	object.filter(got, {"pods_found", "pods_owned", "selection_truncated", "namespace"}) == {
		"pods_found": 1,
		"pods_owned": 1,
		"selection_truncated": false,
		"namespace": "shop",
	}
	action.service_account == "restart-pod-sa"
	action.executor == "api"
	action.timeout_seconds == 300
	action.estimated_seconds == 20
	action.reversible == false
	contains(action.irreversible_reason, "does not come back")
	count(action.permissions) == 2
}
