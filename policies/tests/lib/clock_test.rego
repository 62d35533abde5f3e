package kubernaut.lib.clock_test

import data.kubernaut.lib.clock

test_what_counts_against_no_limit_is_left_out[note] if {
	some note, tc in {
		"all of it counts": {"status": {}, "want": 60},
		"some does not": {"status": {"uncountedSeconds": 20.5}, "want": 39.5},
		"none does": {"status": {"uncountedSeconds": 90}, "want": 0},
		"less than nothing is nothing": {"status": {"uncountedSeconds": -10}, "want": 60},
		"what is no number is nothing": {"status": {"uncountedSeconds": "all"}, "want": 60},
	}
	got := clock.counted("2026-01-01T00:00:00Z") with input as {"now": "2026-01-01T00:01:00Z", "workflow": {"status": tc.status}}
	got == tc.want
}
