package kubernaut.lib.adaptive_test

import data.kubernaut.lib.adaptive
import data.kubernaut.testing.objects
import data.kubernaut.testing.questions as q

_lower := {"max_parallel": 2, "reason": "r"}

_extend := {"step": 1, "timeout": "10m", "reason": "r"}

_adjust := {"step": 1, "parameter": "replicas", "value": 4, "between": [1, 5], "reason": "r"}

_of(parameter, value, choices) := {"step": 1, "parameter": parameter, "value": value, "one_of": choices, "reason": "r"}

_within(parameter, value, bounds) := {"step": 1, "parameter": parameter, "value": value, "between": bounds, "reason": "r"}

test_what_an_entry_asks_for[note] if {
	some note, tc in {
		"fewer at once": {"entry": _lower, "want": {"lower"}},
		"none at once": {"entry": object.union(_lower, {"max_parallel": 0}), "want": set()},
		"half a step at once": {"entry": object.union(_lower, {"max_parallel": 1.5}), "want": set()},
		"fewer at once without a reason": {"entry": {"max_parallel": 2}, "want": set()},
		"fewer at once of a step": {"entry": object.union(_lower, {"step": 1}), "want": set()},
		"more time": {"entry": _extend, "want": {"extend"}},
		"no time": {"entry": object.union(_extend, {"timeout": "0s"}), "want": set()},
		"time backwards": {"entry": object.union(_extend, {"timeout": "-5m"}), "want": set()},
		"time as a number": {"entry": object.union(_extend, {"timeout": 600}), "want": set()},
		"time without a unit": {"entry": object.union(_extend, {"timeout": "600"}), "want": set()},
		"more time for a step by name": {"entry": object.union(_extend, {"step": "one"}), "want": set()},
		"more time for a reason that is no text": {"entry": object.union(_extend, {"reason": 5}), "want": set()},
		"more time with a field that nobody reads": {"entry": object.union(_extend, {"at_mots": "1h"}), "want": set()},
		"another number": {"entry": _adjust, "want": {"adjust"}},
		"a number at its bound": {"entry": _within("replicas", 5, [1, 5]), "want": {"adjust"}},
		"a number outside its bounds": {"entry": _within("replicas", 6, [1, 5]), "want": set()},
		"a number below its bounds": {"entry": _within("replicas", 0, [1, 5]), "want": set()},
		"bounds the wrong way round": {"entry": _within("replicas", 3, [5, 1]), "want": set()},
		"one bound": {"entry": _within("replicas", 3, [3]), "want": set()},
		"no bounds": {"entry": object.remove(_adjust, ["between"]), "want": set()},
		"two kinds of bounds": {"entry": object.union(_adjust, {"one_of": [4]}), "want": set()},
		"half a replica": {"entry": _within("replicas", 2.5, [1, 5]), "want": set()},
		"more replicas than the API takes": {"entry": _within("replicas", 20000, [1, 50000]), "want": set()},
		"no autoscaler of nothing": {"entry": _within("maxReplicas", 0, [0, 5]), "want": set()},
		"one of a list": {"entry": _of("replicas", 4, [2, 4]), "want": {"adjust"}},
		"none of a list": {"entry": _of("replicas", 3, [2, 4]), "want": set()},
		"of an empty list": {"entry": _of("replicas", 3, []), "want": set()},
		"of a list with words": {"entry": _of("replicas", 3, [3, "many"]), "want": set()},
		"of what is no list": {"entry": _of("replicas", 3, {"a": 3}), "want": set()},
		"a duration": {"entry": _within("gracePeriod", "90s", ["1m", "2m"]), "want": {"adjust"}},
		"a duration outside its bounds": {"entry": _within("gracePeriod", "90m", ["1m", "2m"]), "want": set()},
		"a number where a duration belongs": {"entry": _within("gracePeriod", 90, [60, 120]), "want": set()},
		"a quantity": {"entry": _within("memoryLimit", "1Gi", ["512Mi", "2G"]), "want": {"adjust"}},
		"a thousandth": {"entry": _within("cpuRequest", "250m", ["0.1", "1"]), "want": {"adjust"}},
		"a quantity outside its bounds": {"entry": _within("memoryLimit", "1Gi", ["512Ki", "2M"]), "want": set()},
		"a quantity with a unit that Kubernetes has not": {"entry": _of("size", "1KB", ["1KB"]), "want": set()},
		"a quantity that is too long": {"entry": _of("size", sprintf("1.%040d", [1]), [sprintf("1.%040d", [1])]), "want": set()},
		"a number where a quantity belongs": {"entry": _within("size", 5, [1, 5]), "want": set()},
		"a name that is a quantity": {"entry": _of("deployment", "5m", ["5m"]), "want": set()},
		"an image": {"entry": _of("newImage", "web:3", ["web:3"]), "want": set()},
		"a namespace": {"entry": _of("namespace", "other", ["other"]), "want": set()},
		"a revision": {"entry": _within("revision", 3, [1, 5]), "want": set()},
		"a parameter that is no name": {"entry": _of(5, 4, [4]), "want": set()},
		"a word": {"entry": "faster", "want": set()},
		"a number alone": {"entry": 2, "want": set()},
		"nothing": {"entry": null, "want": set()},
	}
	{kind | kind := adaptive.kind(tc.entry)} == tc.want
	adaptive.readable({tc.entry}) == {tc.entry | count(tc.want) > 0}
}

test_the_timeout_is_the_steps_or_the_workflows_or_the_sites[note] if {
	some note, tc in {
		"the step's": {"step": {"timeout": "1m"}, "spec": {"timeouts": {"step": "2m"}}, "want": {60}},
		"the workflow's": {"step": {}, "spec": {"timeouts": {"step": "2m"}}, "want": {120}},
		"the site's": {"step": {}, "spec": {}, "want": {300}},
		"one that cannot be read is left to the next": {"step": {"timeout": "soon"}, "spec": {}, "want": {300}},
	}
	got := {seconds | seconds := adaptive.timeout(tc.step)} with input as {"workflow": {"spec": tc.spec}}
		with data.kubernaut.settings as q.settings
	got == tc.want
}

test_without_any_timeout_nothing_is_longer if {
	got := {seconds | seconds := adaptive.longer({}, 600)} with input as {} with data.kubernaut.settings as {}
	got == set()
}

_learning := q.put(q.dispatch, "/workflow/spec/adaptiveOrchestration", {"learningFromHistory": true})

_step := q.dispatch.steps[0]

test_history_is_asked_for_by_action_and_kind_of_target if {
	got := adaptive.history(_step) with input as _learning with data.kubernaut.settings as q.settings
	got == {{
		"id": "history/1",
		"verb": "history",
		"action": "scale_deployment",
		"kind": "Deployment",
		"namespace": "shop",
		"optional": true,
	}}
	unknown := adaptive.history({"stepNumber": 4, "action": "mystery", "timeout": "1m"}) with input as _learning
	unknown == {{"id": "history/4", "verb": "history", "action": "mystery", "optional": true}}
}

test_nothing_is_asked_for_where_nothing_could_follow if {
	without_switch := adaptive.history(_step) with input as q.dispatch with data.kubernaut.settings as q.settings
	without_timeout := adaptive.history(_step) with input as _learning with data.kubernaut.settings as {}
	[without_switch, without_timeout] == [set(), set()]
}

test_what_is_learned_of_history[note] if {
	some note, tc in {
		"twice the time of nearly all": {"fact": {"available": true, "count": 5, "durationSeconds": {"p95": 200}}, "want": {400}},
		"three times its own at most": {"fact": {"available": true, "count": 9, "durationSeconds": {"p95": 2000}}, "want": {900}},
		"not less": {"fact": {"available": true, "count": 9, "durationSeconds": {"p95": 150}}, "want": set()},
		"not of too few": {"fact": {"available": true, "count": 4, "durationSeconds": {"p95": 200}}, "want": set()},
		"not of what is not known": {"fact": {"available": false, "reason": "not_configured"}, "want": set()},
		"not of none": {"fact": {"available": true, "found": false, "count": 0}, "want": set()},
		"not of a time that is none": {"fact": {"available": true, "count": 9, "durationSeconds": {"p95": null}}, "want": set()},
	}
	got := {said.seconds | said := adaptive.learned(_step)} with input as q.with_fact(_learning, "history/1", tc.fact)
		with data.kubernaut.settings as q.settings
	got == tc.want
}

_optimizing := q.put(q.dispatch, "/workflow/spec/adaptiveOrchestration", {"optimizationEnabled": true})

test_what_is_read_is_what_the_action_asks_for_first if {
	got := adaptive.reads(_step) with input as _optimizing
	got == {{
		"id": "adaptive/1/deployment",
		"verb": "get",
		"apiVersion": "apps/v1",
		"kind": "Deployment",
		"namespace": "shop",
		"name": "web",
		"optional": true,
	}}
}

test_nothing_is_read[note] if {
	some note, tc in {
		"where the switch is off": {"in": q.dispatch, "step": _step},
		"where the action cannot tell": {"in": _optimizing, "step": q.dispatch.steps[1]},
		"of an action that nobody knows": {"in": _optimizing, "step": object.union(_step, {"action": "mystery"})},
		"of a step that was tried": {"in": _optimizing, "step": object.union(_step, {"attempts": 1})},
		"of what is out of reach": {
			"in": _optimizing,
			"step": object.union(_step, {"parameters": {"scaleDeployment": {"namespace": "other"}}}),
		},
	}
	got := adaptive.reads(tc.step) with input as tc["in"]
	got == set()
}

# A team's action: only reads of objects, in the namespace that the workflow may act in, are passed on.
test_other_facts_are_not_read if {
	asked := {
		{"id": "all", "verb": "list", "apiVersion": "v1", "kind": "Pod"},
		{"id": "may", "verb": "access", "namespace": "shop"},
		{"id": "pods", "verb": "list", "apiVersion": "v1", "kind": "Pod", "namespace": "shop"},
	}
	mine := {"mine": {"unnecessary": set(), "facts": asked}}
	got := adaptive.reads({"stepNumber": 7, "action": "mine"}) with input as _optimizing with data.kubernaut.actions as mine
	{request.id | some request in got} == {"adaptive/7/pods"}
}

test_facts_of_two_steps_do_not_mix if {
	facts := {"adaptive/1/deployment": objects.found(objects.scaled(5)), "adaptive/2/deployment": objects.found(objects.scaled(3))}
	other := object.union(_step, {"stepNumber": 2})
	first := adaptive.unnecessary(_step) with input as object.union(_optimizing, {"facts": facts})
	second := adaptive.unnecessary(other) with input as object.union(_optimizing, {"facts": facts})
	[first, second] == [{"web runs 5 replicas already, all available"}, set()]
}

test_what_is_no_sentence_is_no_reason if {
	got := adaptive.unnecessary({"stepNumber": 7, "action": "mine"}) with input as _optimizing
		with data.kubernaut.actions as {"mine": {"unnecessary": {5, {"code": "x"}}}}
	got == set()
}

test_an_amount_stands_in_the_only_member_of_the_parameters[note] if {
	some note, tc in {
		"a number": {"parameters": {"scaleDeployment": {"replicas": 5}}, "want": {true}},
		"a number that is a word": {"parameters": {"scaleDeployment": {"replicas": "5"}}, "want": set()},
		"none": {"parameters": {"scaleDeployment": {"deployment": "web"}}, "want": set()},
		"two members": {"parameters": {"scaleDeployment": {"replicas": 5}, "updateHpa": {}}, "want": set()},
		"no parameters": {"parameters": null, "want": set()},
	}
	{true | adaptive.has_amount({"parameters": tc.parameters}, "replicas")} == tc.want
}

test_a_wanted_value_is_written_as_its_field_takes_it if {
	[adaptive.wanted({"value": 4.0}), adaptive.wanted({"value": "90s"})] == [4, "90s"]
}
