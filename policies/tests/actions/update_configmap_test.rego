package kubernaut.actions.update_configmap_test

import data.kubernaut.actions.update_configmap as action
import data.kubernaut.testing.objects

configmap := {
	"apiVersion": "v1",
	"kind": "ConfigMap",
	"metadata": {"name": "settings", "namespace": "shop", "uid": "c-1", "resourceVersion": "9"},
	"data": {"level": "info", "color": "blue"},
}

target := {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "shop", "name": "settings"}

parameters := {"updateConfigmap": {"name": "settings", "dataUpdates": {"level": "debug", "a.b": "new"}}}

about(found) := objects.question("action", "update_configmap", parameters, {"configmap": found})

test_keys_are_written_one_by_one if {
	got := action.operations with input as about(objects.found(configmap))
	got == [{
		"do": object.union(target, {"verb": "patch", "patchType": "json", "body": [
			{"op": "test", "path": "/metadata/uid", "value": "c-1"},
			{"op": "test", "path": "/metadata/resourceVersion", "value": "9"},
			{"op": "test", "path": "/data/level", "value": "info"},
			{"op": "add", "path": "/data/a.b", "value": "new"},
			{"op": "replace", "path": "/data/level", "value": "debug"},
		]}),
		"undo": object.union(target, {"verb": "patch", "patchType": "json", "body": [
			{"op": "test", "path": "/metadata/uid", "value": "c-1"},
			{"op": "test", "path": "/data/a.b", "value": "new"},
			{"op": "test", "path": "/data/level", "value": "debug"},
			{"op": "remove", "path": "/data/a.b"},
			{"op": "replace", "path": "/data/level", "value": "info"},
		]}),
	}]
	objects.undone(got[0], configmap)
}

test_the_undo_restores_the_pre_image[note] if {
	some note, before in {
		"without any data": object.remove(configmap, ["data"]),
		"with the values already there": object.union(configmap, {"data": parameters.updateConfigmap.dataUpdates}),
		"with other keys": configmap,
	}
	got := action.operations with input as about(objects.found(before))
	objects.done(got[0], before).data.level == "debug"
	objects.undone(got[0], before)
}

test_preconditions[note] if {
	declared := object.keys(action.preconditions)
	some note, tc in {
		"all hold": {"fact": objects.found(configmap), "unmet": set()},
		"it does not exist": {"fact": objects.absent, "unmet": declared},
		"it is unknown": {"fact": objects.unknown("timeout"), "unmet": declared},
		"it is immutable": {"fact": objects.found(object.union(configmap, {"immutable": true})), "unmet": {"configmap_mutable"}},
		"a key holds binary data": {
			"fact": objects.found(object.union(configmap, {"binaryData": {"a.b": "AA=="}})),
			"unmet": {"keys_are_text"},
		},
	}
	got := action.holds with input as about(tc.fact)
	declared - got == tc.unmet
}

test_postconditions[note] if {
	some note, tc in {
		"the values are there": {
			"fact": objects.found(object.union(configmap, {"data": {"level": "debug", "a.b": "new"}})),
			"want": {"values_written"},
		},
		"one value is missing": {"fact": objects.found(object.union(configmap, {"data": {"level": "debug"}})), "want": set()},
		"it is gone": {"fact": objects.absent, "want": set()},
	}
	got := action.holds with input as objects.sent("update_configmap", parameters, [], {"configmap": tc.fact})
	got & {"values_written"} == tc.want
}

test_parameters[note] if {
	some note, tc in {
		"complete": {"p": parameters.updateConfigmap, "want": true},
		"no updates": {"p": {"name": "settings", "dataUpdates": {}}, "want": false},
		"a value that is no text": {"p": {"name": "settings", "dataUpdates": {"a": 1}}, "want": false},
		"a key that is none": {"p": {"name": "settings", "dataUpdates": {"a/b": "1"}}, "want": false},
		"no name": {"p": {"dataUpdates": {"a": "1"}}, "want": false},
	}
	got := {true | action.parameters_valid with input as objects.question("action", "update_configmap", {"updateConfigmap": tc.p}, {})}
	got == {true | tc.want}
}

test_the_only_fact_is_the_configmap if {
	got := action.facts with input as objects.question("action", "update_configmap", parameters, {})
	got == {object.union(target, {"id": "configmap", "verb": "get"})}
}

test_the_result_says_which_values_were_replaced if {
	operations := action.operations with input as about(objects.found(configmap))
	got := action.result with input as objects.sent(
		"update_configmap", parameters, operations,
		{"configmap": objects.found(objects.done(operations[0], configmap))},
	)
	got.success
	got.updateResult == {
		"resourceType": "ConfigMap",
		"resourceName": "settings",
		"namespace": "shop",
		"updateType": "config",
		"previousValue": `{"/data/level":"info"}`,
		"newValue": `{"/data/a.b":"new","/data/level":"debug"}`,
	}
}

test_state_and_catalogue_entry if {
	got := action.state with input as about(objects.found(configmap))
	got == {
		"configmap_found": true,
		"name": "settings",
		"namespace": "shop",
		"immutable": false,
		"binary_keys": 0,
		"wanted_keys": ["a.b", "level"],
	}
	action.service_account == "update-configmap-sa"
	action.executor == "api"
	action.timeout_seconds == 60
	action.estimated_seconds == 5
	action.reversible
	count(action.permissions) == 1
}
