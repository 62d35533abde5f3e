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
