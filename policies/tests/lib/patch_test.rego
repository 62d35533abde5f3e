package kubernaut.lib.patch_test

import data.kubernaut.lib.patch
import data.kubernaut.testing.objects

test_a_pointer_escapes_what_it_must if {
	patch.pointer(["metadata", "annotations", "a/b~c"]) == "/metadata/annotations/a~1b~0c"
}

test_a_kind_without_generation_is_guarded_by_its_version if {
	patch.guards(objects.node) == [
		{"op": "test", "path": "/metadata/uid", "value": "n-uid"},
		{"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
	]
}

test_a_change_lands_or_it_does_not[note] if {
	undo := {"body": [
		{"op": "test", "path": "/metadata/uid", "value": "n-uid"},
		{"op": "test", "path": "/spec/unschedulable", "value": true},
		{"op": "remove", "path": "/spec/unschedulable"},
	]}
	some note, tc in {
		"it is there": {"object": object.union(objects.node, {"spec": {"unschedulable": true}}), "undo": undo, "want": true},
		"it is not there": {"object": objects.node, "undo": undo, "want": false},
		"nothing was recorded": {"object": objects.node, "undo": {"body": []}, "want": false},
	}
	got := {true | patch.landed(tc.object, tc.undo)}
	got == {true | tc.want}
}

test_a_change_of_a_map_that_others_write_to_is_taken_back_key_by_key if {
	before := {"metadata": {"uid": "u", "resourceVersion": "1"}}
	after := object.union(before, {"metadata": {"annotations": {"ours": "1"}}})
	operation := patch.operation({"kind": "ConfigMap", "name": "c"}, before, after)
	since := object.union(objects.done(operation, before), {"metadata": {"annotations": {"theirs": "2"}}})
	json.patch(since, operation.undo.body).metadata.annotations == {"theirs": "2"}
}

test_what_someone_changed_since_is_not_overwritten if {
	before := object.union(objects.node, {"spec": {"providerID": "a"}})
	after := object.union(objects.node, {"spec": {"providerID": "b"}})
	operation := patch.operation({"kind": "Node", "name": "n-1"}, before, after)
	since := object.union(objects.node, {"spec": {"providerID": "c"}})
	got := [true | json.patch(since, operation.undo.body)]
	got == []
}

test_values_are_cut_to_what_a_status_can_hold if {
	long := concat("", [sprintf("%d", [n]) | some n in numbers.range(1, 1000)])
	undo := {"body": [{"op": "test", "path": "/data/a", "value": long}, {"op": "replace", "path": "/data/a", "value": long}]}
	[count(patch.former(undo)), count(patch.present(undo))] == [512, 512]
}
