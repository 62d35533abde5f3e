package kubernaut.lib.outcomes_test

import data.kubernaut.lib.outcomes

declared := {
	"must": {"required": true, "message": "it must"},
	"should": {"required": false, "message": "it should"},
}

test_a_result_is_a_success_when_every_required_condition_holds[note] if {
	some note, tc in {
		"both hold": {"holds": {"must", "should"}, "want": [true, []]},
		"one that is not required does not": {"holds": {"must"}, "want": [true, ["it should"]]},
		"the required one does not": {"holds": {"should"}, "want": [false, []]},
	}
	got := outcomes.result(declared, tc.holds, [], {})
	[got.success, got.warnings] == tc.want
}

test_what_has_no_namespace_names_none if {
	node := {"kind": "Node", "name": "n"}
	outcomes.changed(node, "update") == {"resourceType": "Node", "name": "n", "changeType": "update"}
	outcomes.updated(node, "spec", "a", "b").updateResult == {
		"resourceType": "Node",
		"resourceName": "n",
		"updateType": "spec",
		"previousValue": "a",
		"newValue": "b",
	}
}
