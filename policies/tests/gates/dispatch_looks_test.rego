package kubernaut.gates.dispatch_looks_test

import data.kubernaut.gates.dispatch
import data.kubernaut.testing.questions as q

# With nothing under way no event will tell that a team's limit, which may hang on the time, has changed.
test_a_full_stop_is_looked_at_again_by_itself[note] if {
	some note, tc in {
		"nothing runs": {"running": [], "want": {1}},
		"a step runs, and its end will tell": {"running": [3], "want": set()},
	}
	got := dispatch.verdict with input as q.put(q.put(q.dispatch, "/running", tc.running), "/steps/0/preConditions", [])
		with data.kubernaut.settings as q.settings
		with data.kubernaut.rules.dispatch as {"a": {"limit": {0}}}
	got.decision == "wait"
	{seconds | seconds := got.next_check_seconds} == tc.want
}
