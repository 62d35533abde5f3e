package kubernaut.gates.approval_test

import data.kubernaut.gates.approval
import data.kubernaut.testing.questions as q

_by(approver, decision, moment) := {
	"approver": approver,
	"groups": ["sre"],
	"decision": decision,
	"planHash": "p-1",
	"workflowUid": "w-1",
	"time": moment,
}

_decided(decisions) := q.put(q.approval, "/approvals", decisions)

_free := q.without(q.approval, "/workflow/spec/executionStrategy/approvalRequired")

_eleven := q.put(_free, "/steps", [{"stepNumber": n} | some n in numbers.range(1, 11)])

_early := "2026-01-01T00:01:00Z"

_later := "2026-01-01T00:02:00Z"

test_decision[note] if {
	some note, tc in {
		"an approval that was asked for and given is enough": {"in": q.approval, "want": ["allow", set()]},
		"the empty question is denied": {"in": {}, "want": ["deny", {"input_incomplete"}]},
		"nobody has to approve a simple workflow": {"in": q.put(_free, "/approvals", []), "want": ["allow", set()]},
		"an approval that was asked for is waited for": {"in": _decided([]), "want": ["wait", {"approval_required"}]},
		"eleven steps need an approval": {
			"in": q.put(_eleven, "/approvals", []),
			"want": ["wait", {"approval_required"}],
		},
		"eleven steps with an approval go on": {"in": _eleven, "want": ["allow", set()]},
		"a no is a no": {
			"in": _decided([_by("bob", "Rejected", _early), _by("eve", "Approved", _later)]),
			"want": ["deny", {"approval_rejected"}],
		},
		"who said no may still say yes": {
			"in": _decided([_by("bob", "Rejected", _early), _by("bob", "Approved", _later)]),
			"want": ["allow", set()],
		},
		"who said yes may still say no": {
			"in": _decided([_by("bob", "Approved", _early), _by("bob", "Rejected", _later)]),
			"want": ["deny", {"approval_rejected", "approval_required"}],
		},
		"of a yes and a no at one moment the no counts": {
			"in": _decided([_by("bob", "Approved", _early), _by("bob", "Rejected", _early)]),
			"want": ["deny", {"approval_rejected", "approval_required"}],
		},
		"a decision without a time counts": {
			"in": _decided([object.remove(_by("bob", "Approved", _early), ["time"])]),
			"want": ["allow", set()],
		},
		"an approval of another plan does not count": {
			"in": _decided([object.union(_by("bob", "Approved", _early), {"planHash": "p-2"})]),
			"want": ["wait", {"approval_required"}],
		},
		"an approval of a former workflow of that name does not count": {
			"in": _decided([object.union(_by("bob", "Approved", _early), {"workflowUid": "w-0"})]),
			"want": ["wait", {"approval_required"}],
		},
		"what nobody approved in time has expired": {
			"in": q.put(_decided([]), "/now", "2026-01-02T00:00:00Z"),
			"want": ["deny", {"approval_expired", "approval_required"}],
		},
		"what was approved in time does not expire": {
			"in": q.put(q.approval, "/now", "2026-01-03T00:00:00Z"),
			"want": ["allow", set()],
		},
	}
	got := approval.verdict with input as tc["in"] with data.kubernaut.settings as q.settings
	[got.decision, q.codes(got)] == tc.want
}

_rule(entry) := {"a": {"require_approval": {entry}}}

test_what_teams_ask_for[note] if {
	some note, tc in {
		"a reason alone means one approval": {"rule": "mind_this", "decisions": ["bob"], "want": "allow"},
		"a reason is waited for": {"rule": {"reason": "mind this"}, "decisions": [], "want": "wait"},
		"two approvals are not one": {"rule": {"count": 2}, "decisions": ["bob"], "want": "wait"},
		"two approvals are two people": {"rule": {"count": 2}, "decisions": ["bob", "bob"], "want": "wait"},
		"two people are enough": {"rule": {"count": 2}, "decisions": ["bob", "eve"], "want": "allow"},
		"somebody of the group is enough": {"rule": {"groups": ["dev", "sre"]}, "decisions": ["bob"], "want": "allow"},
		"a set of groups is as good as a list": {"rule": {"groups": {"sre"}}, "decisions": ["bob"], "want": "allow"},
		"one group may be written alone": {"rule": {"groups": "dba"}, "decisions": ["bob"], "want": "wait"},
		"nobody of the group is not enough": {"rule": {"groups": ["dba"]}, "decisions": ["bob", "eve"], "want": "wait"},
		"the requester does not count": {"rule": {"not_requester": true}, "decisions": ["ann"], "want": "wait"},
		"somebody else counts": {"rule": {"not_requester": true}, "decisions": ["ann", "bob"], "want": "allow"},
		"an entry that is neither is denied": {"rule": 2, "decisions": ["bob"], "want": "deny"},
	}
	got := approval.verdict with input as q.put(_free, "/approvals", [_by(name, "Approved", _early) | some name in tc.decisions])
		with data.kubernaut.settings as q.settings
		with data.kubernaut.rules.approval as _rule(tc.rule)
	got.decision == tc.want
}

test_an_entry_that_would_widen_who_may_approve_is_denied[note] if {
	some note, entry in {
		"groups that are a number": {"groups": 7},
		"groups that are nothing": {"groups": null},
		"groups that are a map": {"groups": {"sre": true}},
		"no groups in the list": {"groups": []},
		"no groups in the set": {"groups": set()},
		"a group that is no text": {"groups": ["sre", 7]},
		"a group in the set that is no text": {"groups": {"sre", null}},
		"a count in words": {"count": "2"},
		"a count that is nothing": {"count": null},
		"a count of nobody": {"count": 0},
		"a count below nobody": {"count": -3},
		"not_requester in words": {"not_requester": "false"},
		"not_requester that is nothing": {"not_requester": null},
		"a list": ["sre"],
		"a boolean": false,
	}
	got := approval.verdict with input as q.put(_free, "/approvals", [_by("bob", "Approved", _early), _by("eve", "Approved", _early)])
		with data.kubernaut.settings as q.settings
		with data.kubernaut.rules.approval as _rule(entry)
	got.decision == "deny"
	"rule_is_malformed" in q.codes(got)
}

test_the_requester_counts_unless_a_team_says_otherwise[note] if {
	some note, tc in {
		"unsaid": {"rule": {"reason": "mind this"}, "want": "allow"},
		"said to count": {"rule": {"not_requester": false}, "want": "allow"},
		"said not to count": {"rule": {"not_requester": true}, "want": "wait"},
	}
	got := approval.verdict with input as q.put(_free, "/approvals", [_by("ann", "Approved", _early)])
		with data.kubernaut.settings as q.settings
		with data.kubernaut.rules.approval as _rule(tc.rule)
	got.decision == tc.want
}

test_when_it_asks_again_and_whose_time_it_takes[note] if {
	some note, tc in {
		"a team waits, and everybody said yes": {"in": q.approval, "rules": {"a": {"wait": {"not_yet"}}}, "want": [5, true]},
		"a fact is unknown, and everybody said yes": {
			"in": q.approval,
			"rules": {"a": {"facts": {{"id": "x", "verb": "get", "apiVersion": "v1", "kind": "Pod", "name": "x"}}}},
			"want": [5, true],
		},
		"somebody has yet to decide": {"in": _decided([]), "rules": {}, "want": [30, false]},
		"somebody has a moment left to decide": {
			"in": q.put(_decided([]), "/now", "2026-01-01T23:59:58Z"),
			"rules": {},
			"want": [2, false],
		},
		"somebody has yet to decide, until nobody knows when": {
			"in": q.without(_decided([]), "/workflow/status/approval"),
			"rules": {},
			"want": [30, false],
		},
		"a team waits, and somebody has yet to decide": {"in": _decided([]), "rules": {"a": {"wait": {"not_yet"}}}, "want": [30, false]},
		"nothing is waited for": {"in": q.approval, "rules": {}, "want": ["never", true]},
		"a team denies": {"in": q.approval, "rules": {"a": {"wait": {"not_yet"}, "deny": {"no"}}}, "want": ["never", true]},
	}
	got := approval.verdict with input as tc["in"]
		with data.kubernaut.settings as q.settings
		with data.kubernaut.rules.approval as tc.rules
	[object.get(got, "next_check_seconds", "never"), object.get(got, "time_counts", true)] == tc.want
}

test_every_team_is_heard_by_itself if {
	rules := {"a": {"require_approval": {{"count": 2}}}, "b": {"require_approval": {{"groups": ["dba"]}}}}
	two := [_by("bob", "Approved", _early), _by("eve", "Approved", _early)]
	waiting := approval.verdict with input as q.put(_free, "/approvals", two)
		with data.kubernaut.settings as q.settings
		with data.kubernaut.rules.approval as rules
	[reason.policy | some reason in waiting.reasons] == ["rules.approval.b"]
	waiting.approval == {
		"required": true,
		"count": 2,
		"received": 2,
		"groups": ["dba"],
		"not_requester": false,
		"expires_seconds": 86400,
	}
	dba := object.union(_by("zoe", "Approved", _early), {"groups": ["dba"]})
	done := approval.verdict with input as q.put(_free, "/approvals", array.concat(two, [dba]))
		with data.kubernaut.settings as q.settings
		with data.kubernaut.rules.approval as rules
	done.decision == "allow"
}

test_without_a_requester_on_record_nobody_is_proven_to_be_another[note] if {
	some note, question in {
		"absent": q.without(_free, "/workflow/spec/requestedBy"),
		"empty": q.put(_free, "/workflow/spec/requestedBy", ""),
	}
	got := approval.verdict with input as question
		with data.kubernaut.settings as q.settings
		with data.kubernaut.rules.approval as _rule({"not_requester": true, "reason": "mind this"})
	got.decision == "wait"
	{[reason.message, reason.remedy] | some reason in got.reasons} == {[
		concat("", [
			"mind this (0 of 1 approvals, not by the requester); ",
			"the workflow does not say who requested it, so nobody can be told from its requester",
		]),
		"apply the workflow again under a new name, with spec.requestedBy (`phasegate apply` sets it)",
	]}
}

test_without_the_setting_every_workflow_needs_an_approval if {
	got := approval.verdict with input as q.put(_free, "/approvals", []) with data.kubernaut.settings as {}
	got.decision == "wait"
	got.approval.expires_seconds == 0
}

test_the_workflow_may_say_how_long_it_waits if {
	got := approval.verdict with input as q.put(q.approval, "/workflow/spec/timeouts", {"approval": "5m"})
		with data.kubernaut.settings as q.settings
	got.approval.expires_seconds == 300
}

test_the_wait_says_who_is_asked_and_how if {
	got := approval.verdict with input as _decided([])
		with data.kubernaut.settings as q.settings
		with data.kubernaut.rules.approval as _rule({"reason": "shop is busy", "count": 2, "groups": ["sre", "dba"]})
	{[reason.message, reason.remedy] | some reason in got.reasons} == {
		["its author asks for an approval (0 of 1 approvals)", "`phasegate approve w -n shop` as a user who may"],
		["shop is busy (0 of 2 approvals from dba or sre)", "`phasegate approve w -n shop` as a user who may"],
	}
}

test_the_reason_of_the_failure[note] if {
	some note, tc in {
		"a no": {"in": _decided([_by("bob", "Rejected", _early)]), "rules": {}, "want": ["approval_rejected", "policy_denied"]},
		"too late": {"in": q.put(_decided([]), "/now", "2026-01-02T00:00:00Z"), "rules": {}, "want": ["approval_expired", "policy_denied"]},
		"a team": {"in": q.approval, "rules": {"a": {"deny": {"no"}}}, "want": ["policy_denied", "policy_denied"]},
		"a team's set that is none": {"in": q.approval, "rules": {"a": {"require_approval": true}}, "want": ["policy_denied", "policy_denied"]},
	}
	got := approval.verdict with input as tc["in"]
		with data.kubernaut.settings as q.settings
		with data.kubernaut.rules.approval as tc.rules
	[got.failure_reason, got.error_type] == tc.want
}

test_a_nameless_workflow_is_told_how_all_the_same if {
	got := approval.verdict with input as q.without(_decided([]), "/workflow/metadata/name")
		with data.kubernaut.settings as q.settings
	got.reasons[0].remedy == "`phasegate approve` the workflow as a user who may"
}

test_a_rule_on_trial_is_heard if {
	heard := approval.shadow with input as q.approval with data.kubernaut.shadow.approval as _rule("hm")
	heard == {{"code": "require_approval", "message": "\"hm\"", "policy": "shadow.approval.a", "effect": "require_approval"}}
}
