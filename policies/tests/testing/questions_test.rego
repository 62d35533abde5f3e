package kubernaut.testing.questions_test

import data.kubernaut.gates.action
import data.kubernaut.testing.objects
import data.kubernaut.testing.questions

_examples := {
	"planning": questions.planning,
	"safety": questions.safety,
	"approval": questions.approval,
	"dispatch": questions.dispatch,
	"completion": questions.completion,
	"failure": questions.failure,
	"monitoring": questions.monitoring,
	"rollback": questions.rollback,
	"action": questions.action,
	"verify": questions.verify,
}

test_every_gate_allows_its_example[gate] if {
	some gate, question in _examples
	answer := data.kubernaut.gates[gate].verdict with input as question
		with data.kubernaut.settings as questions.settings
		with data.kubernaut.references as {"shop-conditions:queue.rego": "queue"}
		with data.kubernaut.conditions as {"queue": {"holds": {"queue_empty"}}}
	answer.decision == "allow"
}

test_put[note] if {
	some note, tc in {
		"replaces": {"path": "/now", "want": {"now": "x", "workflow": {"spec": {}}, "steps": [{"name": "a"}]}},
		"adds": {"path": "/workflow/spec/x", "want": {"now": "t", "workflow": {"spec": {"x": "x"}}, "steps": [{"name": "a"}]}},
		"makes what is missing on the way": {
			"path": "/workflow/spec/alertContext/environment",
			"want": {
				"now": "t",
				"workflow": {"spec": {"alertContext": {"environment": "x"}}},
				"steps": [{"name": "a"}],
			},
		},
		"keeps the elements of an array": {
			"path": "/steps/0/status",
			"want": {"now": "t", "workflow": {"spec": {}}, "steps": [{"name": "a", "status": "x"}]},
		},
		"knows escaped names": {
			"path": "/facts/a~1b/found",
			"want": {"now": "t", "workflow": {"spec": {}}, "steps": [{"name": "a"}], "facts": {"a/b": {"found": "x"}}},
		},
	}
	question := {"now": "t", "workflow": {"spec": {}}, "steps": [{"name": "a"}]}
	questions.put(question, tc.path, "x") == tc.want
}

test_a_fact_is_found_under_the_id_of_its_request if {
	question := questions.with_fact(questions.dispatch, "namespace/shop", objects.absent)
	question.facts["namespace/shop"] == {"available": true, "found": false}
	object.remove(question, ["facts"]) == object.remove(questions.dispatch, ["facts"])
}

test_a_fact_takes_the_place_of_the_one_before if {
	question := questions.with_fact(questions.action, "deployment", objects.unknown("forbidden"))
	question.facts.deployment.available == false
	questions.codes(action.verdict) == {"fact_missing"} with input as question
		with data.kubernaut.settings as questions.settings
}

# A reason of a team's is heard whatever else the example's answer says, with no more set up than a team has.
test_a_teams_rule_is_heard_by_every_gate[gate] if {
	some gate, question in _examples
	rules := {gate: {"team": {"deny": {"team_says_no"}}}}
	answer := data.kubernaut.gates[gate].verdict with input as question
		with data.kubernaut.settings as questions.settings
		with data.kubernaut.rules as rules
	"team_says_no" in questions.codes(answer)
}
