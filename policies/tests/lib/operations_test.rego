package kubernaut.lib.operations_test

import data.kubernaut.lib.operations

_request := {"verb": "patch", "apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "x", "patchType": "json", "body": []}

_usable(operation) if operations.is_usable(operation)

test_the_form_of_an_operation[note] if {
	some note, tc in {
		"there and back": {"operation": {"do": _request, "undo": _request}, "want": true},
		"no way back": {"operation": {"do": _request, "undo": null}, "want": true},
		"a list of patches": {
			"operation": {
				"do": object.union(_request, {"body": [
					{"op": "test", "path": "/a", "value": null},
					{"op": "remove", "path": "/a"},
					{"op": "move", "path": "/b", "from": "/c"},
				]}),
				"undo": null,
			},
			"want": true,
		},
		"a patch of nothing": {"operation": {"do": object.union(_request, {"body": [{"op": "remove"}]}), "undo": null}, "want": false},
		"a patch without a value": {
			"operation": {"do": object.union(_request, {"body": [{"op": "add", "path": "/a"}]}), "undo": null},
			"want": false,
		},
		"a patch that is none": {
			"operation": {"do": object.union(_request, {"body": [{"op": "break", "path": "/a", "value": 1}]}), "undo": null},
			"want": false,
		},
		"an object to send": {"operation": {"do": object.union(_request, {"body": {"spec": {}}}), "undo": null}, "want": true},
		"a time to end in": {"operation": {"do": object.union(_request, {"gracePeriodSeconds": 5}), "undo": null}, "want": true},
		"no word of the way back": {"operation": {"do": _request}, "want": false},
		"a way back that is none": {"operation": {"do": _request, "undo": {}}, "want": false},
		"text": {"operation": {"do": "patch", "undo": null}, "want": false},
		"no name": {"operation": {"do": object.remove(_request, ["name"]), "undo": null}, "want": false},
		"an unknown verb": {"operation": {"do": object.union(_request, {"verb": "exec"}), "undo": null}, "want": false},
		"an unknown field": {"operation": {"do": object.union(_request, {"as": "admin"}), "undo": null}, "want": false},
		"a list of texts": {"operation": {"do": object.union(_request, {"body": ["x"]}), "undo": null}, "want": false},
		"half a second": {"operation": {"do": object.union(_request, {"gracePeriodSeconds": 0.5}), "undo": null}, "want": false},
	}
	{true | _usable(tc.operation)} == {true | tc.want}
}
