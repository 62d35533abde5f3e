package kubernaut.actions.uncordon_node_test

import data.kubernaut.actions.uncordon_node as action
import data.kubernaut.testing.objects

target := {"apiVersion": "v1", "kind": "Node", "name": "n-1"}

parameters := {"uncordonNode": {"nodeName": "n-1"}}

cordoned := object.union(objects.node, {"spec": {"unschedulable": true}})

about(fact) := objects.question("action", "uncordon_node", parameters, {"node": fact})

test_the_mark_is_taken_off_and_can_be_put_back if {
	got := action.operations with input as about(objects.found(cordoned))
	got == [{
		"do": object.union(target, {"verb": "patch", "patchType": "json", "body": [
			{"op": "test", "path": "/metadata/uid", "value": "n-uid"},
			{"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
			{"op": "test", "path": "/spec/unschedulable", "value": true},
			{"op": "remove", "path": "/spec/unschedulable"},
		]}),
		"undo": object.union(target, {"verb": "patch", "patchType": "json", "body": [
			{"op": "test", "path": "/metadata/uid", "value": "n-uid"},
			{"op": "add", "path": "/spec/unschedulable", "value": true},
		]}),
	}]
	objects.undone(got[0], cordoned)
}

test_a_node_that_is_so_already_stays_so_both_ways if {
	got := action.operations with input as about(objects.found(objects.node))
	objects.done(got[0], objects.node) == objects.node
	objects.undone(got[0], objects.node)
}

test_preconditions[note] if {
	some note, tc in {
		"the node exists": {"fact": objects.found(objects.node), "want": {"node_exists"}},
		"the node does not exist": {"fact": objects.absent, "want": set()},
		"the node is unknown": {"fact": objects.unknown("forbidden"), "want": set()},
	}
	got := action.holds with input as about(tc.fact)
	got & {"node_exists"} == tc.want
}

test_postconditions[note] if {
	some note, tc in {
		"the node is open": {"fact": objects.found(objects.node), "want": {"node_schedulable"}},
		"the node is cordoned": {"fact": objects.found(cordoned), "want": set()},
		"the node is unknown": {"fact": objects.unknown("timeout"), "want": set()},
	}
	got := action.holds with input as objects.sent("uncordon_node", parameters, [], {"node": tc.fact})
	got & {"node_schedulable"} == tc.want
}

test_parameters[note] if {
	some note, tc in {
		"a name": {"p": {"nodeName": "n-1"}, "want": true},
		"no name": {"p": {}, "want": false},
		"a name that climbs": {"p": {"nodeName": "../n-1"}, "want": false},
	}
	got := {true | action.parameters_valid with input as objects.question("action", "uncordon_node", {"uncordonNode": tc.p}, {})}
	got == {true | tc.want}
}

test_the_only_fact_is_the_node if {
	got := action.facts with input as objects.question("action", "uncordon_node", parameters, {})
	got == {object.union(target, {"id": "node", "verb": "get"})}
}

test_the_result_names_the_node if {
	operations := action.operations with input as about(objects.found(cordoned))
	got := action.result with input as objects.sent("uncordon_node", parameters, operations, {"node": objects.found(objects.node)})
	got.success
	got.resourcesAffected == [{"resourceType": "Node", "name": "n-1", "changeType": "update"}]
	got.updateResult.resourceName == "n-1"
	got.updateResult.previousValue == `{"/spec/unschedulable":true}`
}

test_state_and_catalogue_entry if {
	got := action.state with input as about(objects.found(cordoned))
	got == {"node_found": true, "node_name": "n-1", "unschedulable": true}
	object.keys(action.preconditions) == {"node_exists"}
	object.keys(action.postconditions) == {"node_schedulable"}
	action.service_account == "uncordon-node-sa"
	action.executor == "api"
	action.timeout_seconds == 60
	action.estimated_seconds == 5
	action.reversible
	count(action.permissions) == 1
}
