package kubernaut.gates.default_test

import data.kubernaut.gates.action
import data.kubernaut.gates.approval
import data.kubernaut.gates.completion
import data.kubernaut.gates.dispatch
import data.kubernaut.gates.failure
import data.kubernaut.gates.monitoring
import data.kubernaut.gates.planning
import data.kubernaut.gates.rollback
import data.kubernaut.gates.safety
import data.kubernaut.gates.verify

# Answers nothing, as no gate's name is its set of reasons.
_nothing(gate, own) := gate if gate == own

_answers := [
	action.verdict,
	approval.verdict,
	completion.verdict,
	dispatch.verdict,
	failure.verdict,
	monitoring.verdict,
	planning.verdict,
	rollback.verdict,
	safety.verdict,
	verify.verdict,
]

test_a_gate_that_comes_to_no_conclusion_denies if {
	answers := _answers with data.kubernaut.lib.verdict.answer as _nothing
	count(answers) == 10
	every answer in answers {
		answer.decision == "deny"
		answer.reasons[0].code == "verdict_undefined"
		count(answer.reasons[0].remedy) > 0
	}
}

test_every_gate_denies_the_empty_question if {
	answers := _answers with input as {}
	every answer in answers {
		answer.decision == "deny"
	}
}
