# METADATA
# title: Verdict
# description: The only maker of verdict documents. deny beats wait beats allow; a requested fact that is unknown holds every gate back.
package kubernaut.lib.verdict

import data.kubernaut.lib.facts
import data.kubernaut.lib.rules

# METADATA
# description: |
#   The part of a verdict that all gates share: the gate's own sets `deny`, `wait`, `warn` (of whole reasons) and `facts`, with what the
#   teams' rules add to them.
answer(gate, own) := {
	"decision": _decision(count(deny), count(wait)),
	"reasons": array.concat(sort(deny), sort(wait)),
	"warnings": sort(own.warn | rules.warn(gate)),
	"facts": sort(wanted),
} if {
	wanted := requests(gate, own.facts)
	deny := union({
		own.deny,
		rules.deny(gate),
		rules.faults(gate),
		facts.malformed(gate, own.facts | rules.facts(gate)),
		facts.conflicts(gate, wanted),
	})
	wait := (own.wait | rules.wait(gate)) | facts.missing(gate, wanted)
}

# METADATA
# description: What the gate and the teams want to have read together.
requests(gate, own) := facts.usable(own | rules.facts(gate))

# METADATA
# description: True once all that was asked for is known, without contradiction. Before that a gate judges nothing that depends on it.
settled(gate, own) if {
	wanted := requests(gate, own)
	facts.settled(wanted)
	count(facts.conflicts(gate, wanted)) == 0
}

# METADATA
# description: True when a rule of a team is among the reasons of a denial.
denied_by_team(said) if {
	said.decision == "deny"
	some reason in said.reasons
	startswith(reason.policy, "rules.")
}

default _decision(_, _) := "deny"

_decision(0, 0) := "allow"

_decision(0, waits) := "wait" if waits > 0
