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

# METADATA
# description: True when nothing but rules of teams holds a gate back. What they wait for changes seldom.
held_by_team(said) if {
	said.decision == "wait"
	every reason in said.reasons {
		startswith(reason.policy, "rules.")
	}
}

# METADATA
# description: What a denial adds to the answer, nothing to another decision. The failure reason, and the kind of error that it is.
blame(said, failure_reason) := {"failure_reason": failure_reason, "error_type": error_type(failure_reason)} if {
	said.decision == "deny"
} else := {}

# METADATA
# description: |
#   The kind of error that a failure reason is. The gate failure tries a step again after `execution_error`, `resource_conflict` and
#   `timeout` only. A reason that the table does not have is a refusal.
error_type(failure_reason) := object.get(_error_types, failure_reason, "policy_denied")

_error_types := {
	"approval_expired": "policy_denied",
	"approval_rejected": "policy_denied",
	"cancelled": "execution_error",
	"dependency_resolution_failed": "validation_error",
	"dry_run_failed": "validation_error",
	"monitoring_failed": "execution_error",
	"planning_error": "validation_error",
	"policy_denied": "policy_denied",
	"postcondition_failed": "execution_error",
	"precondition_failed": "validation_error",
	"rbac_validation_failed": "insufficient_permissions",
	"resource_not_found": "validation_error",
	"rollback_failed": "execution_error",
	"safety_validation_failed": "validation_error",
	"step_creation_failed": "execution_error",
	"step_execution_failed": "execution_error",
	"timeout": "timeout",
	"workflow_triggered_new_alerts": "execution_error",
}

default _decision(_, _) := "deny"

_decision(0, 0) := "allow"

_decision(0, waits) := "wait" if waits > 0
