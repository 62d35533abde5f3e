# METADATA
# title: Reasons
# description: The only maker of the coded lines in a verdict, whoever wrote them.
package kubernaut.lib.reasons

# METADATA
# description: A reason as a gate or a team wrote it, made well-formed. A string is a code without prose.
reason(policy, written) := {"code": written, "message": written, "policy": policy} if {
	_code(written)
} else := _kept(policy, written) if {
	_code(written.code)
	is_string(object.get(written, "message", ""))
} else := {
	"code": "malformed_reason",
	"message": json.marshal(written),
	"policy": policy,
	"remedy": "write {\"code\", \"message\", \"remedy\"} with a code in snake_case, or a code alone",
}

# METADATA
# description: The reason for refusing a team's rule that is not the kind of value that its gate folds in.
not_a_set(policy, rule) := {
	"code": "rule_is_not_a_set",
	"message": sprintf("the rule %s is not a set, so it would be ignored", [rule]),
	"policy": policy,
	"remedy": sprintf("write `%s contains …`", [rule]),
}

# METADATA
# description: The reason for refusing an entry of a team's set that its gate cannot read.
malformed(policy, rule, entry) := {
	"code": "rule_is_malformed",
	"message": sprintf("an entry of %s cannot be used: %s", [rule, substring(json.marshal(entry), 0, 256)]),
	"policy": policy,
	"remedy": "see the policy reference for the form of this rule's entries",
}

_kept(policy, written) := object.union(
	{"code": written.code, "message": object.get(written, "message", written.code), "policy": policy},
	{"remedy": written.remedy | is_string(written.remedy)},
)

_code(text) if {
	is_string(text)
	regex.match(`^[a-z][a-z0-9_]{0,62}$`, text)
}
