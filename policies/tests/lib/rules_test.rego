package kubernaut.lib.rules_test

import data.kubernaut.lib.rules

_pod := {"id": "pod", "verb": "get", "apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web"}

_question := {"ready": [1, 2], "facts": {}}

test_what_is_written_on_trial_is_heard_with_the_effect_that_it_would_have[note] if {
	some note, tc in {
		"a denial": {"rules": {"deny": {"too_bold"}}, "want": {["deny", "too_bold", "too_bold"]}},
		"a wait with prose": {"rules": {"wait": {{"code": "night", "message": "it is dark"}}}, "want": {["wait", "night", "it is dark"]}},
		"a warning": {"rules": {"warn": {"hm"}}, "want": {["warn", "hm", "hm"]}},
		"a limit": {"rules": {"limit": {2}}, "want": {["limit", "limit", "2"]}},
		"an approval": {"rules": {"require_approval": {"big"}}, "want": {["require_approval", "require_approval", "\"big\""]}},
		"a step held": {"rules": {"hold": {{"step": 2, "code": "busy"}}}, "want": {["hold", "busy", "step 2: busy"]}},
		"a step skipped": {"rules": {"skip": {{"step": 1, "code": "done"}}}, "want": {["skip", "done", "step 1: done"]}},
		"fewer at once": {
			"rules": {"adjust": {{"max_parallel": 2, "reason": "r"}}},
			"want": {["adjust", "adjust", `{"max_parallel":2,"reason":"r"}`]},
		},
		"more time": {
			"rules": {"adjust": {{"step": 2, "timeout": "1h", "reason": "r"}}},
			"want": {["adjust", "adjust", `{"reason":"r","step":2,"timeout":"1h"}`]},
		},
		"more time for a step that is not ready": {"rules": {"adjust": {{"step": 3, "timeout": "1h", "reason": "r"}}}, "want": set()},
		"a change overwritten": {
			"rules": {"overwrite": {{"step": 2, "reason": "r"}}},
			"want": {["overwrite", "overwrite", `{"reason":"r","step":2}`]},
		},
		"a stop": {"rules": {"stop": {"data_at_risk"}}, "want": {["stop", "data_at_risk", "data_at_risk"]}},
		"a step held with a reason in addition": {
			"rules": {"hold": {{"step": 2, "code": "busy", "reason": "r"}}},
			"want": {["hold", "busy", "step 2: busy"]},
		},
		"a step that is not ready": {"rules": {"hold": {{"step": 3, "code": "busy"}}}, "want": set()},
		"several": {"rules": {"deny": {"a", "b"}, "warn": {"c"}}, "want": {["deny", "a", "a"], ["deny", "b", "b"], ["warn", "c", "c"]}},
		"nothing": {"rules": {"deny": set(), "helper": 5}, "want": set()},
	}
	heard := rules.on_trial("dispatch") with input as _question with data.kubernaut.shadow.dispatch as {"mine": tc.rules}
	{[line.effect, line.code, line.message] | some line in heard} == tc.want
	{line.policy | some line in heard} == {"shadow.dispatch.mine" | count(tc.want) > 0}
}

test_what_would_be_refused_is_heard_as_a_denial[note] if {
	some note, tc in {
		"a rule that is true": {"rules": {"deny": true}, "want": {"rule_is_not_a_set"}},
		"a rule that is false": {"rules": {"wait": false}, "want": {"rule_is_not_a_set"}},
		"facts that are a list": {"rules": {"facts": []}, "want": {"rule_is_not_a_set"}},
		"a limit that is a number": {"rules": {"limit": 5}, "want": {"rule_is_not_a_set"}},
		"a limit in words": {"rules": {"limit": {"two"}}, "want": {"rule_is_malformed"}},
		"a hold without a step": {"rules": {"hold": {{"code": "busy"}}}, "want": {"rule_is_malformed"}},
		"a skip that is a word": {"rules": {"skip": {"busy"}}, "want": {"rule_is_malformed"}},
		"an approval that is a number": {"rules": {"require_approval": {5}}, "want": {"rule_is_malformed"}},
		"an adjustment that is a word": {"rules": {"adjust": {"faster"}}, "want": {"rule_is_malformed"}},
		"an adjustment that is no set": {"rules": {"adjust": []}, "want": {"rule_is_not_a_set"}},
		"an overwrite without a reason": {"rules": {"overwrite": {{"step": 1}}}, "want": {"rule_is_malformed"}},
		"a stop that is true": {"rules": {"stop": true}, "want": {"rule_is_not_a_set"}},
		"no request": {"rules": {"facts": {"pod", {"id": "x", "verb": "delete"}}}, "want": {"fact_malformed"}},
		"no code": {"rules": {"deny": {5, {"message": "hm"}}}, "want": {"malformed_reason"}},
	}
	heard := rules.on_trial("dispatch") with input as _question with data.kubernaut.shadow.dispatch as {"mine": tc.rules}
	{line.code | some line in heard} == tc.want
	{line.effect | some line in heard} == {"deny"}
	{line.policy | some line in heard} == {"shadow.dispatch.mine"}
}

test_a_fact_is_asked_for_and_waited_for_until_it_is_known if {
	asked := {"effect": "facts", "policy": "shadow.dispatch.mine", "request": _pod}
	waited := {
		"code": "fact_missing",
		"effect": "wait",
		"message": "pod is not known: it has not been read yet",
		"policy": "shadow.dispatch.mine",
		"remedy": "it is read again by itself; if it stays so, mend what the message names: a missing right, or a server that does not answer",
	}
	before := rules.on_trial("dispatch") with input as _question with data.kubernaut.shadow.dispatch as {"mine": {"facts": {_pod}}}
	before == {asked, waited}
	read := {"facts": {"pod": {"available": true, "found": false}}}
	after := rules.on_trial("dispatch") with input as read with data.kubernaut.shadow.dispatch as {"mine": {"facts": {_pod}}}
	after == {asked}
}

test_a_broken_question_breaks_nothing if {
	trial := {"deny": {"no"}, "hold": {{"step": 1, "code": "busy"}}, "facts": {_pod}}
	every question in [{}, 5, null, {"ready": 5, "facts": 5}] {
		heard := rules.on_trial("dispatch") with input as question with data.kubernaut.shadow.dispatch as {"mine": trial}
		{line.effect | some line in heard} == {"deny", "facts", "wait"}
	}
}

test_each_package_and_each_gate_is_heard_for_itself if {
	shadow := {"dispatch": {"a": {"deny": {"x"}}, "b": {"deny": {"y"}}}, "safety": {"a": {"deny": {"z"}}}}
	both := rules.on_trial("dispatch") with input as {} with data.kubernaut.shadow as shadow
	{[line.policy, line.code] | some line in both} == {["shadow.dispatch.a", "x"], ["shadow.dispatch.b", "y"]}
	one := rules.trial.dispatch.b with input as {} with data.kubernaut.shadow as shadow
	{line.code | some line in one} == {"y"}
}
