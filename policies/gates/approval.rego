# METADATA
# title: Approval
# description: Does a person have to say yes to this plan, and has one? Admission proved who decided; here it is judged whether that is enough.
# scope: subpackages
# schemas:
#   - input: schema.approval_input
package kubernaut.gates.approval

import data.kubernaut.lib.clock
import data.kubernaut.lib.verdict as v

# METADATA
# description: The whole answer; defined for every input.
# entrypoint: true
default verdict := {
	"decision": "deny",
	"reasons": [{"code": "verdict_undefined", "message": "the gate could not judge this question", "policy": "approval"}],
	"warnings": [],
	"facts": [],
	"approval": {"required": true, "count": 1, "received": 0, "groups": [], "not_requester": true, "expires_seconds": 0},
}

verdict := object.union_n([
	v.document(deny, wait, warn, facts),
	{"approval": {
		"required": _is_required,
		"count": _count,
		"received": count(_approvers),
		"groups": sort(_groups),
		"not_requester": _not_requester,
		"expires_seconds": _expires,
	}},
	{"failure_reason": reason | reason := _failure_reason},
])

# METADATA
# description: What packages on trial would have said.
# entrypoint: true
shadow contains v.reason(sprintf("shadow.approval.%s", [name]), r) if {
	some name
	some r in data.kubernaut.shadow.approval[name].require_approval
}

shadow contains v.reason(sprintf("shadow.approval.%s", [name]), r) if {
	some name
	some r in data.kubernaut.shadow.approval[name].deny
}

_asked if {
	is_array(input.steps)
	is_string(input.workflow.status.planHash)
	is_string(input.workflow.metadata.uid)
}

# Why a person has to say yes.

_required contains {
	"code": "approval_requested",
	"message": "its author asked for an approval",
	"policy": "approval",
	"remedy": _how,
} if input.workflow.spec.executionStrategy.approvalRequired == true

_required contains {
	"code": "complex_workflow",
	"message": sprintf("%d steps are more than complexity-approval-threshold", [count(input.steps)]),
	"policy": "approval",
	"remedy": _how,
} if not _simple

_simple if count(input.steps) <= data.kubernaut.settings["complexity-approval-threshold"]

_required contains object.union({"remedy": _how}, v.reason(sprintf("rules.approval.%s", [name]), r)) if {
	some name
	some r in data.kubernaut.rules.approval[name].require_approval
}

_how := sprintf("`phasegate approve %s -n %s` as a user who may", [input.workflow.metadata.name, input.workflow.metadata.namespace])

default _is_required := true

_is_required := false if {
	_asked
	count(_required) == 0
}

# The strictest of what the teams ask for.

_count := max({1} | {n | some name; some r in data.kubernaut.rules.approval[name].require_approval; n := r.count; is_number(n)})

_groups contains group if {
	some name
	some r in data.kubernaut.rules.approval[name].require_approval
	some group in r.groups
}

default _not_requester := false

_not_requester if {
	some name
	some r in data.kubernaut.rules.approval[name].require_approval
	r.not_requester == true
}

_expires := min(_expiries)

_expiries contains clock.setting("approval-timeout")

_expiries contains clock.seconds(input.workflow.spec.timeouts.approval)

_expiries contains 86400 if not _expiry_set

_expiry_set if is_number(clock.setting("approval-timeout"))

# Decisions that count: on this very workflow and plan, the last one of each person.

_counting contains decision if {
	some decision in input.approvals
	decision.workflowUid == input.workflow.metadata.uid
	decision.planHash == input.workflow.status.planHash
	_eligible(decision)
}

_eligible(decision) if {
	_right_person(decision)
	_right_group(decision)
}

_right_person(_) if _not_requester == false

_right_person(decision) if {
	_not_requester
	decision.approver != object.get(input.workflow.spec, "requestedBy", "")
}

_right_group(_) if count(_groups) == 0

_right_group(decision) if {
	some group in decision.groups
	group in _groups
}

_last[approver] := decision if {
	some {"approver": approver} in _counting
	times := [[d.time, d.decision] | some d in _counting; d.approver == approver]
	decision := max(times)[1]
}

_approvers contains approver if some approver, "Approved" in _last

_rejected if some "Rejected" in _last

_enough if count(_approvers) >= _count

_expired if {
	_is_required
	not _enough
	time.parse_rfc3339_ns(input.workflow.status.approval.expiresAt) <= time.parse_rfc3339_ns(input.now)
}

facts contains r if {
	some name
	some r in data.kubernaut.rules.approval[name].facts
}

deny contains {"code": "input_incomplete", "message": "the question lacks the steps, the plan or the workflow", "policy": "approval"} if not _asked

deny contains {"code": "approval_rejected", "message": "a person has said no", "policy": "approval"} if {
	_is_required
	_rejected
}

deny contains {
	"code": "approval_expired",
	"message": "nobody has approved in time",
	"policy": "approval",
	"remedy": "apply the workflow again under a new name",
} if _expired

deny contains v.fact_conflict(id) if some id in v.conflicts(facts)

deny contains v.reason(sprintf("rules.approval.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.approval[name].deny
}

deny contains v.not_a_set(sprintf("rules.approval.%s", [name]), rule) if {
	some rule in {"deny", "wait", "warn", "facts", "require_approval"}
	some name
	value := data.kubernaut.rules.approval[name][rule]
	type_name(value) != "set"
}

wait contains reason if {
	some reason in _required
	not _enough
}

wait contains v.reason(sprintf("rules.approval.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.approval[name].wait
}

warn contains v.reason(sprintf("rules.approval.%s", [name]), r) if {
	some name
	some r in data.kubernaut.rules.approval[name].warn
}

_failure_reason := "approval_rejected" if {
	_is_required
	_rejected
} else := "approval_expired" if {
	_expired
} else := "policy_denied" if {
	count(deny) > 0
}
