package kubernaut.actions.annotate_deployment_test

import data.kubernaut.actions.annotate_deployment as action
import data.kubernaut.testing.objects

config := {"deployment": "web", "annotation": "example.com/on-call", "value": "ann"}

parameters(changes) := {"custom": {"actionType": "annotate_deployment", "config": object.union(config, changes)}}

about(fact) := objects.question("action", "annotate_deployment", parameters({}), {"deployment": fact})

annotated(value) := object.union(objects.deployment, {"metadata": {"annotations": {"example.com/on-call": value}}})

test_the_annotation_is_written_if_nothing_has_changed_since if {
	[operation] := action.operations with input as about(objects.found(annotated("bob")))
	operation.do.body == [
		{"op": "test", "path": "/metadata/uid", "value": "d-1"},
		{"op": "test", "path": "/metadata/generation", "value": 4},
		{"op": "test", "path": "/metadata/annotations/example.com~1on-call", "value": "bob"},
		{"op": "replace", "path": "/metadata/annotations/example.com~1on-call", "value": "ann"},
	]
	objects.done(operation, annotated("bob")) == annotated("ann")
}

test_the_way_back_restores[note] if {
	some note, before in {
		"no annotation at all": json.remove(objects.deployment, ["metadata/annotations"]),
		"others' annotations only": objects.deployment,
		"another value": annotated("bob"),
		"the same value": annotated("ann"),
	}
	[operation] := action.operations with input as about(objects.found(before))
	objects.undone(operation, before)
}

test_conditions[note] if {
	some note, tc in {
		"written": {"fact": objects.found(annotated("ann")), "want": {"deployment_exists", "annotation_written"}},
		"another value": {"fact": objects.found(annotated("bob")), "want": {"deployment_exists"}},
		"not there": {"fact": objects.absent, "want": set()},
		"not known": {"fact": objects.unknown("forbidden"), "want": set()},
	}
	got := action.holds with input as about(tc.fact)
	got == tc.want
}

test_what_is_read_and_shown if {
	got := action.facts with input as objects.question("action", "annotate_deployment", parameters({}), {})
	got == {object.union(action.target, {"id": "deployment", "verb": "get"})} with input as about(objects.absent)
	shown := action.state with input as about(objects.found(annotated("bob")))
	shown == {"deployment_found": true, "namespace": "shop", "annotation": "example.com/on-call", "value": "bob"}
}

test_parameters[note] if {
	some note, tc in {
		"complete": {"p": parameters({}), "want": true},
		"a name without a domain": {"p": parameters({"annotation": "on-call"}), "want": true},
		"a name that is none": {"p": parameters({"annotation": "on call"}), "want": false},
		"a name of the cluster's": {"p": parameters({"annotation": "deployment.kubernetes.io/revision"}), "want": false},
		"a misspelt field": {"p": parameters({"valeu": "ann"}), "want": false},
		"no Deployment": {"p": parameters({"deployment": ""}), "want": false},
		"another action's": {"p": {"custom": {"actionType": "other", "config": config}}, "want": false},
		"nothing": {"p": {"custom": {}}, "want": false},
	}
	got := {true | action.parameters_valid with input as objects.question("action", "annotate_deployment", tc.p, {})}
	got == {true | tc.want}
}

test_the_result_says_which_value_was_replaced if {
	operations := action.operations with input as about(objects.found(annotated("bob")))
	facts := {"deployment": objects.found(annotated("ann"))}
	got := action.result with input as objects.sent("annotate_deployment", parameters({}), operations, facts)
	got.success
	got.updateResult.previousValue == `{"/metadata/annotations/example.com~1on-call":"bob"}`
}

test_the_catalogue_entry if {
	object.keys(action.preconditions) == {"deployment_exists"}
	object.keys(action.postconditions) == {"annotation_written"}
	[action.service_account, action.executor, action.timeout_seconds, action.estimated_seconds] == ["annotate-deployment-sa", "api", 60, 5]
	action.reversible
	count(action.permissions) == 1
}
