package kubernaut.lib.reasons_test

import data.kubernaut.lib.reasons

_malformed(message) := {
	"code": "malformed_reason",
	"message": message,
	"policy": "p",
	"remedy": "write {\"code\", \"message\", \"remedy\"} with a code in snake_case, or a code alone",
}

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
			"want": _malformed("\"there is no room\""),
		},
		"a message that is no text": {
			"written": {"code": "no_room", "message": 5},
			"want": _malformed("{\"code\":\"no_room\",\"message\":5}"),
		},
		"a number": {"written": 5, "want": _malformed("5")},
	}
	reasons.reason("p", tc.written) == tc.want
}
