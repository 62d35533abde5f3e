package kubernaut.lib.parameters_test

import data.kubernaut.lib.parameters

test_the_namespace_is_the_workflows_unless_another_is_named[note] if {
	some note, tc in {
		"left out": {"p": {}, "want": "shop"},
		"empty": {"p": {"namespace": ""}, "want": "shop"},
		"null": {"p": {"namespace": null}, "want": "shop"},
		"named": {"p": {"namespace": "other"}, "want": "other"},
	}
	got := parameters.namespace(tc.p) with input.workflow.metadata.namespace as "shop"
	got == tc.want
}

test_names[note] if {
	some note, tc in {
		"a word": {"name": "web-1.a", "want": true},
		"empty": {"name": "", "want": false},
		"upper case": {"name": "Web", "want": false},
		"a path": {"name": "a/b", "want": false},
		"no text": {"name": 5, "want": false},
		"too long": {"name": concat("", ["a" | some _ in numbers.range(1, 254)]), "want": false},
	}
	got := {true | parameters.object_name(tc.name)}
	got == {true | tc.want}
}

test_durations[note] if {
	some note, tc in {
		"a number": {"duration": 5, "want": {5}},
		"a Go duration": {"duration": "1m30s", "want": {90}},
		"part of a second is cut": {"duration": "1500ms", "want": {1}},
		"negative": {"duration": "-1s", "want": set()},
		"a negative number": {"duration": -1, "want": set()},
		"half a second as a number": {"duration": 0.5, "want": set()},
		"words": {"duration": "soon", "want": set()},
	}
	got := {seconds | seconds := parameters.seconds(tc.duration)}
	got == tc.want
}
