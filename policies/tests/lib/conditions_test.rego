package kubernaut.lib.conditions_test

import data.kubernaut.lib.conditions

_declared := {"ready": {"required": true, "timeout": "10s", "message": "it must be ready"}}

_asked(override, entries) := {
	"workflow": {"spec": {"conditionOverrides": {"scale": {"preconditions": {"ready": override}}}}},
	"step": {"action": "scale", "preConditions": entries},
}

_loosening := {"allow-condition-loosening": true}

test_whose_terms_count[note] if {
	some note, tc in {
		"the catalogue's": {"override": {}, "entries": [], "want": [true, 10]},
		"an override that is shorter": {"override": {"timeout": "5s"}, "entries": [], "want": [true, 5]},
		"the shorter of two": {"override": {"timeout": "5s"}, "entries": [{"type": "ready", "timeout": "2s"}], "want": [true, 2]},
		"no override that is longer": {"override": {"timeout": "1h"}, "entries": [], "want": [true, 10]},
		"no entry that makes it optional": {"override": {}, "entries": [{"type": "ready", "required": false}], "want": [true, 10]},
		"not those of another condition": {"override": {}, "entries": [{"type": "other", "timeout": "1s"}], "want": [true, 10]},
		"not those of an entry with a reference": {
			"override": {},
			"entries": [{"type": "ready", "timeout": "1s", "rego": "a:b:c"}],
			"want": [true, 10],
		},
	}
	got := conditions.terms(_declared, "preconditions") with input as _asked(tc.override, tc.entries)
	[got.ready.required, got.ready.seconds] == tc.want
}

test_the_last_word_counts_where_loosening_is_allowed if {
	got := conditions.terms(_declared, "preconditions") with input as _asked(
		{"timeout": "5s"},
		[{"type": "ready", "timeout": "1h", "required": false}],
	)
		with data.kubernaut.settings as _loosening
	[got.ready.required, got.ready.seconds] == [false, 3600]
}

test_what_nobody_says_is_strict if {
	got := conditions.terms({"ready": {"message": "it must be ready"}}, "preconditions") with input as {}
	[got.ready.required, got.ready.seconds] == [true, 0]
}

test_a_declaration_never_vanishes[note] if {
	some note, tc in {
		"words of its own": {"is": {"message": "it must be ready"}, "holds": {"ready"}, "want": [true, "it must be ready"]},
		"no words": {"is": {"required": true}, "holds": set(), "want": [false, "ready"]},
		"no words, but a proof": {"is": {"required": true}, "holds": {"ready"}, "want": [true, "ready"]},
		"words that are none": {"is": {"message": 7}, "holds": set(), "want": [false, "ready"]},
		"nothing in it": {"is": {}, "holds": set(), "want": [false, "ready"]},
		"text": {"is": "it must be ready", "holds": {"ready"}, "want": [false, _no_condition]},
		"a boolean": {"is": true, "holds": {"ready"}, "want": [false, _no_condition]},
		"nothing": {"is": null, "holds": set(), "want": [false, _no_condition]},
		"a claim to be readable": {"is": {"readable": false}, "holds": {"ready"}, "want": [true, "ready"]},
	}
	judged := conditions.terms({"ready": tc.is}, "preconditions") with input as _asked({}, [])
	got := conditions.results(judged, tc.holds)
	[[result.required, result.passed, result.message] | some result in got] == [array.concat([true], tc.want)]
	conditions.unmet(judged, tc.holds, true) == {"ready" | tc.want[0] == false}
}

_no_condition := "ready is declared as something that is no condition"

test_an_unmet_condition_without_words_has_a_reason if {
	judged := conditions.terms({"ready": {}}, "preconditions") with input as _asked({}, [])
	got := conditions.reason("ready", judged.ready) with input as _asked({}, [])
	got == {"code": "ready", "message": "ready", "policy": "catalogue.scale"}
}
