package kubernaut.lib.reasons_test

import data.kubernaut.lib.reasons

test_a_reason_is_well_formed_whatever_was_written[note] if {
	some note, tc in {
		"a code": {"written": "no_room", "want": {"code": "no_room", "message": "no_room", "policy": "p"}},
		"a code and prose": {
			"written": {"code": "no_room", "message": "full", "remedy": "wait", "policy": "forged", "more": 1},
			"want": {"code": "no_room", "message": "full", "remedy": "wait", "policy": "p"},
		},
		"a remedy that is no text": {
			"written": {"code": "no_room", "remedy": 5},
			"want": {"code": "no_room", "message": "no_room", "policy": "p"},
		},
		"prose alone": {
			"written": "there is no room",
			"want": {"code": "malformed_reason", "message": "\"there is no room\"", "policy": "p"},
		},
		"a message that is no text": {
			"written": {"code": "no_room", "message": 5},
			"want": {"code": "malformed_reason", "message": "{\"code\":\"no_room\",\"message\":5}", "policy": "p"},
		},
		"a number": {"written": 5, "want": {"code": "malformed_reason", "message": "5", "policy": "p"}},
	}
	reasons.reason("p", tc.written) == tc.want
}
