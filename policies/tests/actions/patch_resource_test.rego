package kubernaut.actions.patch_resource_test

import data.kubernaut.actions.patch_resource as action
import data.kubernaut.testing.objects

target := {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"}

patching(patch, type) := {"patchResource": object.union(
	{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "patch": patch},
	{"patchType": type | type != ""},
)}

change := {"metadata": {"labels": {"a/b": "c"}}, "spec": {"minReadySeconds": 10, "replicas": 4}}

preview := object.union(objects.deployment, object.union(change, {"metadata": {"generation": 5, "resourceVersion": "101"}}))

asked(patch, type) := objects.question("action", "patch_resource", patching(patch, type), {
	"object": objects.found(objects.deployment),
	"preview": objects.found(preview),
})

guard := {"metadata": {"uid": "d-1", "resourceVersion": "100"}}

test_the_way_there_is_the_authors_patch_and_the_way_back_restores_what_it_changes if {
	got := action.operations with input as asked(change, "")
	got == [{
		"do": object.union(target, {"verb": "patch", "patchType": "strategic", "body": object.union(change, guard)}),
		"undo": object.union(target, {"verb": "patch", "patchType": "json", "body": [
			{"op": "test", "path": "/metadata/uid", "value": "d-1"},
			{"op": "test", "path": "/metadata/labels/a~1b", "value": "c"},
			{"op": "test", "path": "/spec/minReadySeconds", "value": 10},
			{"op": "test", "path": "/spec/replicas", "value": 4},
			{"op": "remove", "path": "/metadata/labels/a~1b"},
			{"op": "remove", "path": "/spec/minReadySeconds"},
			{"op": "replace", "path": "/spec/replicas", "value": 3},
		]}),
	}]
}

test_the_undo_restores_the_object[note] if {
	before := object.union(objects.deployment, {"metadata": {"labels": {"team": "x"}, "annotations": {"keep": "me"}}})
	some note, change_of in {
		"a value": {"spec": {"replicas": 9}},
		"a new field": {"spec": {"minReadySeconds": 5}},
		"a new tree": {"spec": {"strategy": {"rollingUpdate": {"maxSurge": 1}}}},
		"a list": {"spec": {"template": {"spec": {"containers": [{"name": "other", "image": "x:1"}]}}}},
		"a label of the template": {"spec": {"template": {"metadata": {"labels": {"b": "c"}}}}},
		"an annotation of the template": {"spec": {"template": {"metadata": {"annotations": {"b/d": "c"}}}}},
		"an annotation": {"metadata": {"annotations": {"e~f": "g"}}},
		"data beside spec": {"data": {"k": "v"}},
		"nothing": {},
	}
	changed := object.union(before, change_of)
	got := action.operations with input as objects.question("action", "patch_resource", patching(change_of, ""), {
		"object": objects.found(before),
		"preview": objects.found(changed),
	})
	back := json.patch(changed, got[0].undo.body)
	json.remove(back, ["spec/template/metadata/annotations", "data"]) == before
}

test_what_a_patch_takes_away_is_put_back if {
	before := object.union(objects.deployment, {"metadata": {"labels": {"team": "x"}}})
	after := json.remove(before, ["metadata/labels", "spec/template/spec/terminationGracePeriodSeconds"])
	got := action.operations with input as objects.question("action", "patch_resource", patching({}, "merge"), {
		"object": objects.found(before),
		"preview": objects.found(after),
	})
	json.patch(after, got[0].undo.body) == before
}

test_what_the_controllers_write_is_left_alone if {
	after := object.union(preview, {
		"metadata": {"annotations": {"deployment.kubernetes.io/revision": "9"}, "managedFields": []},
		"status": {"replicas": 9},
	})
	got := action.operations with input as objects.question("action", "patch_resource", patching(change, ""), {
		"object": objects.found(objects.deployment),
		"preview": objects.found(after),
	})
	{entry.path | some entry in got[0].undo.body} == {
		"/metadata/uid", "/metadata/labels/a~1b",
		"/spec/minReadySeconds", "/spec/replicas",
	}
}

test_each_type_guards_what_it_patches[note] if {
	entries := [{"op": "replace", "path": "/spec/replicas", "value": 4}]
	some note, tc in {
		"strategic": {"type": "strategic", "patch": change, "body": object.union(change, guard)},
		"merge": {"type": "merge", "patch": change, "body": object.union(change, guard)},
		"json": {"type": "json", "patch": entries, "body": [
			{"op": "test", "path": "/metadata/uid", "value": "d-1"},
			{"op": "test", "path": "/metadata/generation", "value": 4},
			{"op": "replace", "path": "/spec/replicas", "value": 4},
		]},
		"apply": {"type": "apply", "patch": change, "body": object.union_n([
			change, guard,
			{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}},
		])},
	}
	got := action.operations with input as asked(tc.patch, tc.type)
	got[0].do == object.union(target, {"verb": "patch", "patchType": tc.type, "body": tc.body})
}

test_parameters[note] if {
	some note, tc in {
		"a strategic patch": {"p": {}, "want": true},
		"a JSON patch": {"p": {"patchType": "json", "patch": [{"op": "remove", "path": "/spec/paused"}]}, "want": true},
		"it may repeat what it is about": {
			"p": {"patch": {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}}},
			"want": true,
		},
		"status": {"p": {"patch": {"status": {}}}, "want": false},
		"another name": {"p": {"patch": {"metadata": {"name": "other"}}}, "want": false},
		"another kind": {"p": {"patch": {"kind": "StatefulSet"}}, "want": false},
		"owners": {"p": {"patch": {"metadata": {"ownerReferences": []}}}, "want": false},
		"a directive": {"p": {"patch": {"$patch": "replace", "spec": {}}}, "want": false},
		"a directive in a merge patch": {"p": {"patchType": "merge", "patch": {"$patch": "replace", "spec": {}}}, "want": false},
		"a directive of another name": {"p": {"patch": {"$retainKeys": ["spec"], "spec": {}}}, "want": false},
		"a directive below metadata": {"p": {"patch": {"metadata": {"$patch": "replace"}}}, "want": false},
		"a directive for a list below metadata": {
			"p": {"patch": {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/y"]}}},
			"want": false,
		},
		"a directive deeper down": {"p": {"patch": {"spec": {"strategy": {"$patch": "replace"}}}}, "want": true},
		"labels that are no map": {"p": {"patch": {"metadata": {"labels": null}}}, "want": false},
		"metadata that is no map": {"p": {"patch": {"metadata": "x"}}, "want": false},
		"status by a JSON patch": {"p": {"patchType": "json", "patch": [{"op": "remove", "path": "/status"}]}, "want": false},
		"everything by a JSON patch": {"p": {"patchType": "json", "patch": [{"op": "replace", "path": "", "value": {}}]}, "want": false},
		"a move from what is not the author's": {
			"p": {"patchType": "json", "patch": [{"op": "move", "path": "/spec/x", "from": "/status/replicas"}]},
			"want": false,
		},
		"an empty JSON patch": {"p": {"patchType": "json", "patch": []}, "want": false},
		"a JSON patch that is an object": {"p": {"patchType": "json"}, "want": false},
		"a type that is none": {"p": {"patchType": "magic"}, "want": false},
		"a Secret": {"p": {"apiVersion": "v1", "kind": "Secret"}, "want": false},
		"permissions": {"p": {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role"}, "want": false},
		"no name": {"p": {"name": ""}, "want": false},
	}
	shaped := object.union(
		object.remove({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "patch": {"spec": {}}}, object.keys(tc.p)),
		tc.p,
	)
	got := {true | action.parameters_valid with input as objects.question("action", "patch_resource", {"patchResource": shaped}, {})}
	got == {true | tc.want}
}

test_facts_are_asked_in_rounds[note] if {
	known := {"object": objects.found(objects.deployment)}
	some note, tc in {
		"first the object": {"gate": "action", "p": patching(change, ""), "facts": {}, "want": {"object"}},
		"then what would result": {"gate": "action", "p": patching(change, ""), "facts": known, "want": {"object", "preview"}},
		"afterwards the pods": {"gate": "verify", "p": patching(change, ""), "facts": known, "want": {"object", "pods"}},
		"an invalid patch asks for nothing": {"gate": "action", "p": patching({"status": {}}, ""), "facts": {}, "want": set()},
		"a Secret is not read": {
			"gate": "action",
			"p": object.union(patching(change, ""), {"patchResource": {"apiVersion": "v1", "kind": "Secret"}}),
			"facts": {},
			"want": set(),
		},
	}
	got := action.facts with input as objects.question(tc.gate, "patch_resource", tc.p, tc.facts)
	{request.id | some request in got} == tc.want
}

test_preconditions[note] if {
	declared := object.keys(action.preconditions)
	known := objects.found(objects.deployment)
	some note, tc in {
		"the server accepts it": {"facts": {"object": known, "preview": objects.found(preview)}, "unmet": set()},
		"the server refuses it": {"facts": {"object": known, "preview": objects.unknown("error")}, "unmet": {"patch_accepted"}},
		"the object is gone since": {"facts": {"object": known, "preview": objects.absent}, "unmet": {"patch_accepted"}},
		"the preview is of another object": {
			"facts": {"object": known, "preview": objects.found(object.union(preview, {"metadata": {"uid": "d-2"}}))},
			"unmet": {"patch_accepted"},
		},
		"the object does not exist": {"facts": {"object": objects.absent}, "unmet": declared},
		"the object is unknown": {"facts": {"object": objects.unknown("timeout")}, "unmet": declared},
	}
	got := action.holds with input as objects.question("action", "patch_resource", patching(change, ""), tc.facts)
	declared - got == tc.unmet
}

test_owners_and_finalizers_stay_as_they_are[note] if {
	held := {"finalizers": ["a/b"], "ownerReferences": [{"kind": "App", "name": "shop", "uid": "o-1"}]}
	some note, tc in {
		"both stay": {"before": held, "after": held, "want": true},
		"neither was there": {"before": {}, "after": {}, "want": true},
		"the finalizers go": {"before": held, "after": object.remove(held, ["finalizers"]), "want": false},
		"the owners go": {"before": held, "after": object.remove(held, ["ownerReferences"]), "want": false},
		"a finalizer comes": {"before": {}, "after": {"finalizers": ["a/b"]}, "want": false},
		"another owner comes": {
			"before": held,
			"after": object.union(held, {"ownerReferences": [{"kind": "App", "name": "shop", "uid": "o-2"}]}),
			"want": false,
		},
	}
	got := action.holds with input as objects.question("action", "patch_resource", patching(change, ""), {
		"object": objects.found(object.union(objects.deployment, {"metadata": tc.before})),
		"preview": objects.found(object.union(preview, {"metadata": tc.after})),
	})
	got & {"patch_accepted"} == {"patch_accepted" | tc.want}
}

configmap := {
	"apiVersion": "v1",
	"kind": "ConfigMap",
	"metadata": {"name": "c", "namespace": "shop", "uid": "c-1", "resourceVersion": "1"},
	"data": {"a": "1"},
}

changing_data := {"patchResource": {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "patch": {"data": {"a": "2"}}}}

test_postconditions[note] if {
	recorded := action.operations with input as asked(change, "")
	declared := object.keys(action.postconditions)
	done := object.union(preview, {"status": {
		"observedGeneration": 5, "replicas": 4,
		"updatedReplicas": 4, "availableReplicas": 4,
	}})
	pods := objects.listed([objects.pod("a")])
	operations := action.operations with input as objects.question("action", "patch_resource", changing_data, {
		"object": objects.found(configmap),
		"preview": objects.found(object.union(configmap, {"data": {"a": "2"}})),
	})
	some note, tc in {
		"all hold when the workload has rolled it out": {
			"question": objects.sent("patch_resource", patching(change, ""), recorded, {"object": objects.found(done), "pods": pods}),
			"unmet": set(),
		},
		"it is not rolled out": {
			"question": objects.sent("patch_resource", patching(change, ""), recorded, {"object": objects.found(preview), "pods": pods}),
			"unmet": {"rollout_complete"},
		},
		"the values are not there": {
			"question": objects.sent("patch_resource", patching(change, ""), recorded, {
				"object": objects.found(objects.deployment),
				"pods": pods,
			}),
			"unmet": {"patch_applied"},
		},
		"a container crash loops": {
			"question": objects.sent("patch_resource", patching(change, ""), recorded, {
				"object": objects.found(done),
				"pods": objects.listed([objects.waiting_pod("a", "CrashLoopBackOff")]),
			}),
			"unmet": {"no_crashloop_pods"},
		},
		"the pods are unknown": {
			"question": objects.sent("patch_resource", patching(change, ""), recorded, {
				"object": objects.found(done),
				"pods": objects.unknown("timeout"),
			}),
			"unmet": {"no_crashloop_pods"},
		},
		"what is no workload needs no rollout": {
			"question": objects.sent("patch_resource", changing_data, operations, {"object": objects.found(object.union(
				configmap,
				{"data": {"a": "2"}},
			))}),
			"unmet": set(),
		},
		"nothing is known": {"question": objects.sent("patch_resource", patching(change, ""), recorded, {}), "unmet": declared},
	}
	got := action.holds with input as tc.question
	declared - got == tc.unmet
}

test_the_result_says_what_was_replaced if {
	recorded := action.operations with input as asked(change, "")
	got := action.result with input as objects.sent("patch_resource", patching(change, ""), recorded, {"object": objects.found(preview)})
	got.success == false
	got.updateResult.previousValue == `{"/spec/replicas":3}`
	got.updateResult.newValue == `{"/metadata/labels/a~1b":"c","/spec/minReadySeconds":10,"/spec/replicas":4}`
}

test_state_and_catalogue_entry if {
	got := action.state with input as asked(change, "")
	got == {"object_found": true, "kind": "Deployment", "name": "web", "namespace": "shop", "preview_found": true}
	action.service_account == "patch-resource-sa"
	action.executor == "api"
	action.timeout_seconds == 300
	action.estimated_seconds == 30
	action.reversible
}

# RBAC is written out, the kinds are a table: neither may know something that the other does not.
test_permissions_cover_just_the_kinds_of_the_table if {
	granted := {[group, resource] |
		some rule in action.permissions
		"patch" in rule.verbs
		some group in rule.apiGroups
		some resource in rule.resources
	}
	wanted := {[group, resource] |
		some version, table in action.kinds
		some resource in table
		group := concat("", array.slice(split(version, "/"), 0, count(split(version, "/")) - 1))
	}
	granted == wanted
}
