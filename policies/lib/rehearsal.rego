# METADATA
# title: Rehearsal
# description: |
#   What the dry-run says about a workflow: each step's `action` verdict without an attempt, and the API server's answers to its
#   operations. What a step that depends on others lacks now may be there when its turn comes, so its refusals by the catalogue and the
#   server are warnings. A missing right, and what a rule says, hold for every step.
package kubernaut.lib.rehearsal

# METADATA
# description: Refusals by rules and by the gate itself, in their own words.
refused_by_rule contains object.union(reason, {"message": _told(step, reason.message)}) if {
	some step in _steps
	step.decision == "deny"
	some reason in step.reasons
	startswith(reason.policy, "catalogue.") == false
}

# METADATA
# description: Unmet conditions of the catalogue that nothing before the step can bring about.
unmet contains object.union(reason, {"message": _told(step, reason.message)}) if {
	some step in _first
	step.decision == "deny"
	some reason in step.reasons
	startswith(reason.policy, "catalogue.")
}

# METADATA
# description: What the API server refused, for other reasons than a missing right.
errors contains {
	"code": "dry_run_failed",
	"message": _told(step, error.message),
	"policy": "safety",
	"remedy": _remedy(error),
} if {
	some step in _first
	some error in step.errors
	error.status != 403
}

_remedy(error) := "mend the rule `operations` of the action: what it may touch is bounded" if {
	error.reason == "Forbidden by the executor"
} else := "mend the step's parameters, or the object, and apply the workflow under a new name"

# METADATA
# description: What the API server refused for a missing right, in its own words.
forbidden contains {
	"code": "rbac_forbidden",
	"message": _told(step, error.message),
	"policy": "safety",
	"remedy": "give the action's ServiceAccount the right there, and the controller the right to impersonate it; deploy/ shows both",
} if {
	some step in _steps
	some error in step.errors
	error.status == 403
}

# METADATA
# description: Steps that nobody could judge, because their facts could not be read.
undecided contains step.step if {
	some step in _first
	step.decision == "wait"
	some reason in step.reasons
	reason.code == "fact_missing"
}

# METADATA
# description: Steps whose answer has no form that can be judged.
unreadable contains step if {
	some step in ({step | some step in input.dry_run.steps} - _steps)
}

# METADATA
# scope: document
# description: Steps that would fail now, and are judged again when their turn comes.
later contains step.step if {
	some step in (_steps - _first)
	step.decision == "deny"
}

later contains step.step if {
	some step in (_steps - _first)
	some error in step.errors
	error.status != 403
}

# METADATA
# description: Steps that a rule holds back for now.
held contains step.step if {
	some step in _steps
	step.decision == "wait"
	some reason in step.reasons
	reason.code != "fact_missing"
}

# METADATA
# description: The numbers of the steps that were rehearsed.
rehearsed contains step.step if some step in _steps

_steps contains step if {
	some step in input.dry_run.steps
	is_number(step.step)
	step.decision in {"allow", "wait", "deny"}
	every reason in step.reasons {
		_is_reason(reason)
	}
	every error in step.errors {
		is_number(error.status)
		is_string(error.message)
	}
}

_is_reason(reason) if {
	count(object.keys(reason) - {"code", "message", "policy", "remedy"}) == 0
	regex.match(`^[a-z][a-z0-9_]{0,62}$`, reason.code)
	is_string(reason.message)
	is_string(reason.policy)
	is_string(object.get(reason, "remedy", ""))
}

_first contains step if {
	some step in _steps
	object.get(step, "depends", false) != true
}

_told(step, message) := sprintf("step %d: %s", [step.step, message])
