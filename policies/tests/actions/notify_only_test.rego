package kubernaut.actions.notify_only_test

import data.kubernaut.actions.notify_only as action
import data.kubernaut.testing.objects

asked(parameters) := objects.question("action", "notify_only", {"notifyOnly": parameters}, {})

test_nothing_is_read_and_nothing_is_sent if {
	count(action.facts) == 0
	action.operations == []
	action.no_operations
	action.preconditions == {}
	action.postconditions == {}
	count(action.holds) == 0
	action.permissions == []
}

test_parameters[note] if {
	some note, tc in {
		"a message": {"p": {"message": "look"}, "want": true},
		"a message with its severity": {"p": {"message": "look", "severity": "critical"}, "want": true},
		"no message": {"p": {}, "want": false},
		"an empty message": {"p": {"message": ""}, "want": false},
		"a severity that is no word": {"p": {"message": "look", "severity": 5}, "want": false},
	}
	got := {true | action.parameters_valid with input as asked(tc.p)}
	got == {true | tc.want}
}

test_the_target_is_the_workflow_itself if {
	got := action.target with input as asked({"message": "look"})
	got == {
		"apiVersion": "workflowexecution.kubernaut.ai/v1alpha1",
		"kind": "WorkflowExecution",
		"namespace": "shop",
		"name": "w",
	}
}

test_the_result_carries_the_message if {
	got := action.result with input as asked({"message": "look"})
	got == {
		"success": true,
		"customResult": {"actionType": "notify_only", "output": {"message": "look", "severity": "info"}},
		"resourcesAffected": [],
		"warnings": [],
	}
}

test_state_and_catalogue_entry if {
	got := action.state with input as asked({"message": "look"})
	got == {"message": "look", "severity": "info"}
	action.service_account == "notify-only-sa"
	action.executor == "api"
	action.timeout_seconds == 30
	action.estimated_seconds == 1
	action.reversible
}
