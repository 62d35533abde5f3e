# METADATA
# title: Approval
# description: Does a person have to say yes to this plan, and has one? Admission proved who decided; here is judged whether it is enough.
# scope: subpackages
# schemas:
#   - input: schema.approval_input
package kubernaut.gates.approval

import data.kubernaut.lib.clock
import data.kubernaut.lib.reasons
import data.kubernaut.lib.rules
import data.kubernaut.lib.verdict as v

# METADATA
# description: The whole answer; defined for every input.
# entrypoint: true
default verdict := {
	"decision": "deny",
	"reasons": [{
		"code": "verdict_undefined",
		"message": "the gate could not judge this question",
		"policy": "approval",
		"remedy": "a policy fails on this question; `phasegate policy status` lists the latest changes: take back the one that brought it",
	}],
	"warnings": [],
	"facts": [],
	"failure_reason": "policy_denied",
	"error_type": "policy_denied",
	"approval": {"required": true, "count": 1, "received": 0, "groups": [], "not_requester": true, "expires_seconds": 0},
}

verdict := object.union_n([
	_answer,
	{"approval": {
		"required": _is_required,
		"count": _count,
		"received": count(_approvers(set())),
		"groups": sort(_groups),
		"not_requester": _not_requester,
		"expires_seconds": _expires,
	}},
	v.blame(_answer, _failure_reason),
	{"next_check_seconds": _next_check | _answer.decision == "wait"},
	{"time_counts": false | _awaits_people},
])

# METADATA
# description: What packages on trial would have said; apart, so that their faults cannot touch a verdict.
# entrypoint: true
shadow := rules.on_trial("approval")

_answer := v.answer("approval", {"deny": _deny, "wait": _wait, "warn": set(), "facts": set()})

default _failure_reason := "policy_denied"

_failure_reason := "approval_rejected" if {
	count(_rejecting) > 0
} else := "approval_expired" if {
	_expired
}

_sound if {
	is_array(input.steps)
	is_string(input.workflow.status.planHash)
	is_string(input.workflow.metadata.uid)
}

_deny contains {
	"code": "input_incomplete",
	"message": "the question lacks the steps, the plan or the workflow",
	"policy": "approval",
	"remedy": "the controller did not ask as this policy expects: deploy the controller and the policies of one release",
} if not _sound

# Who asks for an approval, and for which: {policy, why, count, groups, not_requester}.

_asked contains {
	"policy": "approval",
	"why": "its author asks for an approval",
	"count": 1,
	"groups": set(),
	"not_requester": false,
} if input.workflow.spec.executionStrategy.approvalRequired == true

_asked contains {
	"policy": "approval",
	"why": sprintf("it has %d steps, more than the setting complexity-approval-threshold lets pass", [count(input.steps)]),
	"count": 1,
	"groups": set(),
	"not_requester": false,
} if {
	_sound
	not _simple
}

_simple if count(input.steps) <= data.kubernaut.settings["complexity-approval-threshold"]

_asked contains {
	"policy": rules.policy("approval", name),
	"why": _why(entry),
	"count": _wanted(entry),
	"groups": _listed(entry),
	"not_requester": object.get(entry, "not_requester", false) == true,
} if {
	some name
	some entry in data.kubernaut.rules.approval[name].require_approval
	is_object(entry)
}

_asked contains {
	"policy": rules.policy("approval", name),
	"why": entry,
	"count": 1,
	"groups": set(),
	"not_requester": false,
} if {
	some name
	some entry in data.kubernaut.rules.approval[name].require_approval
	is_string(entry)
}

# An entry that would be read more widely than it was meant is not read at all.
_deny contains reasons.malformed(rules.policy("approval", name), "require_approval", entry) if {
	some name
	some entry in data.kubernaut.rules.approval[name].require_approval
	not _readable[entry]
}

_readable contains entry if {
	some name
	some entry in data.kubernaut.rules.approval[name].require_approval
	is_string(entry)
}

_readable contains entry if {
	some name
	some entry in data.kubernaut.rules.approval[name].require_approval
	is_object(entry)
	_names_groups(object.get(entry, "groups", "anybody"))
	is_number(object.get(entry, "count", 1))
	object.get(entry, "count", 1) >= 1
	is_boolean(object.get(entry, "not_requester", false))
}

_names_groups(groups) if is_string(groups)

_names_groups(groups) if {
	type_name(groups) in {"array", "set"}
	count(groups) > 0
	every group in groups {
		is_string(group)
	}
}

_why(entry) := entry.reason if {
	is_string(entry.reason)
} else := "a rule of the team asks for an approval"

_wanted(entry) := max([1, ceil(entry.count)]) if {
	is_number(entry.count)
} else := 1

# A group that is not a list narrows who counts as well.
_listed(entry) := {group | some group in entry.groups; is_string(group)} if {
	type_name(entry.groups) in {"array", "set"}
} else := {entry.groups} if {
	is_string(entry.groups)
} else := set()

default _is_required := true

_is_required := false if {
	_sound
	count(_asked) == 0
}

# The strictest of what they ask for, to be shown. Each of them is judged by itself.

_count := max({1} | {ask.count | some ask in _asked})

_groups contains group if {
	some ask in _asked
	some group in ask.groups
}

default _not_requester := false

_not_requester if {
	some ask in _asked
	ask.not_requester
}

default _expires := 0

_expires := clock.seconds(input.workflow.spec.timeouts.approval) if {
	is_string(input.workflow.spec.timeouts.approval)
} else := clock.setting("approval-timeout")

# Decisions on this very workflow and plan; of each person the last one. On a tie the no counts.

_decisions contains decision if {
	some decision in input.approvals
	is_string(decision.approver)
	decision.workflowUid == input.workflow.metadata.uid
	decision.planHash == input.workflow.status.planHash
}

_moment(decision) := time.parse_rfc3339_ns(decision.time) if {
	is_string(decision.time)
} else := 0

_last contains decision if {
	some decision in _decisions
	_moment(decision) == max({_moment(other) | some other in _decisions; other.approver == decision.approver})
}

_rejecting contains decision.approver if {
	some decision in _last
	decision.decision != "Approved"
}

# Who says yes, counted for one set of groups (empty: anybody).
_approvers(groups) := {decision.approver |
	some decision in _last
	decision.decision == "Approved"
	_may_count(decision)
	_is_in(decision, groups)
} - _rejecting

_may_count(_) if not _not_requester

# Without a requester on record nobody can be proven to be somebody else.
_may_count(decision) if {
	_not_requester
	_requester_known
	decision.approver != input.workflow.spec.requestedBy
}

_requester_known if count(input.workflow.spec.requestedBy) > 0

_unprovable if {
	_not_requester
	not _requester_known
}

_is_in(_, groups) if count(groups) == 0

_is_in(decision, groups) if {
	some group in decision.groups
	group in groups
}

_unmet contains ask if {
	some ask in _asked
	count(_approvers(ask.groups)) < ask.count
}

_deny contains {
	"code": "approval_rejected",
	"message": sprintf("%s said no", [concat(", ", sort(_rejecting))]),
	"policy": "approval",
	"remedy": "change the workflow and apply it under a new name",
} if count(_rejecting) > 0

_expired if {
	count(_unmet) > 0
	time.parse_rfc3339_ns(input.workflow.status.approval.expiresAt) <= time.parse_rfc3339_ns(input.now)
}

_deny contains {
	"code": "approval_expired",
	"message": "it was not approved in time",
	"policy": "approval",
	"remedy": "apply the workflow again under a new name",
} if _expired

_wait contains {
	"code": "approval_required",
	"message": sprintf("%s (%d of %d approvals%s)%s", [ask.why, count(_approvers(ask.groups)), ask.count, _of_whom(ask), _but]),
	"policy": ask.policy,
	"remedy": _how,
} if {
	some ask in _unmet
}

# No limit but the approval's own runs out while people are asked. Once enough of them said yes, what holds the workflow is a team's rule,
# or a fact that it asks for: that takes of its time as everywhere.
_awaits_people if {
	_answer.decision == "wait"
	count(_unmet) > 0
}

# A decision comes as an event, what teams wait for does not.
default _next_check := 5

_next_check := max([0.2, min([30, _left])]) if _awaits_people

default _left := 30

_left := (time.parse_rfc3339_ns(input.workflow.status.approval.expiresAt) - time.parse_rfc3339_ns(input.now)) / 1000000000

_of_whom(ask) := concat("", [_from(ask.groups), _other(ask.not_requester)])

_from(groups) := sprintf(" from %s", [concat(" or ", sort(groups))]) if {
	count(groups) > 0
} else := ""

_other(true) := ", not by the requester"

_other(false) := ""

default _but := ""

_but := "; the workflow does not say who requested it, so nobody can be told from its requester" if _unprovable

default _how := "`phasegate approve` the workflow as a user who may"

_how := "apply the workflow again under a new name, with spec.requestedBy (`phasegate apply` sets it)" if {
	_unprovable
} else := sprintf("`phasegate approve %s -n %s` as a user who may", [name, namespace]) if {
	name := input.workflow.metadata.name
	is_string(name)
	namespace := input.workflow.metadata.namespace
	is_string(namespace)
}
