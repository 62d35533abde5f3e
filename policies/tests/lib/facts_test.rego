package kubernaut.lib.facts_test

import data.kubernaut.lib.facts

_get := {"id": "x", "verb": "get", "apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "x"}

test_what_can_be_read[note] if {
	some note, tc in {
		"a get": {"request": _get, "want": true},
		"a list with a limit": {"request": object.union(_get, {"verb": "list", "limit": 5}), "want": true},
		"a preview": {"request": {"id": "p", "verb": "preview", "request": {}}, "want": true},
		"an optional one": {"request": object.union(_get, {"optional": true}), "want": true},
		"no request at all": {"request": "x", "want": false},
		"no id": {"request": object.remove(_get, ["id"]), "want": false},
		"an empty id": {"request": object.union(_get, {"id": ""}), "want": false},
		"an unknown verb": {"request": object.union(_get, {"verb": "delete"}), "want": false},
		"an unknown field": {"request": object.union(_get, {"selector": "x"}), "want": false},
		"a name that is a number": {"request": object.union(_get, {"name": 5}), "want": false},
		"half a limit": {"request": object.union(_get, {"limit": 0.5}), "want": false},
	}
	count(facts.usable({tc.request})) == 1 == tc.want
	count(facts.malformed("safety", {tc.request})) == 0 == tc.want
}

test_two_contents_under_one_id_conflict if {
	found := facts.conflicts("safety", {_get, object.union(_get, {"name": "y"}), object.union(_get, {"id": "z"})})
	{reason.message | some reason in found} == {"two different reads are asked for under the id x"}
}

test_why_something_is_unknown[note] if {
	some note, tc in {
		"not read": {"facts": {}, "want": {"x is not known: it has not been read yet"}},
		"not to be read": {
			"facts": {"x": {"available": false, "reason": "forbidden", "message": "no"}},
			"want": {"x is not known: forbidden no"},
		},
		"too slow": {"facts": {"x": {"available": false, "reason": "timeout"}}, "want": {"x is not known: timeout"}},
		"truthy is not true": {"facts": {"x": {"available": "yes"}}, "want": {"x is not known: it has not been read yet"}},
		"known": {"facts": {"x": {"available": true, "found": false}}, "want": set()},
	}
	found := facts.missing("safety", {_get}) with input.facts as tc.facts
	{reason.message | some reason in found} == tc.want
}

test_an_optional_request_is_not_waited_for if facts.settled({object.union(_get, {"optional": true})})
