package kubernaut.rules.action.production_floor_test

import data.kubernaut.rules.action.production_floor

_asked(environment, parameters) := {
	"workflow": {"spec": {"alertContext": {"environment": environment}}},
	"step": {"parameters": parameters},
}

test_deny[note] if {
	some note, tc in {
		"a Deployment is not scaled to zero in production": {
			"in": _asked("production", {"scaleDeployment": {"deployment": "web", "replicas": 0}}),
			"want": {"scale_to_zero_in_production"},
		},
		"neither is a StatefulSet": {
			"in": _asked("production", {"scaleStatefulset": {"statefulset": "db", "replicas": 0}}),
			"want": {"scale_to_zero_in_production"},
		},
		"one replica is enough": {"in": _asked("production", {"scaleDeployment": {"deployment": "web", "replicas": 1}}), "want": set()},
		"elsewhere zero is fine": {"in": _asked("staging", {"scaleDeployment": {"deployment": "web", "replicas": 0}}), "want": set()},
		"nothing is said of an empty question": {"in": {}, "want": set()},
	}
	denied := production_floor.deny with input as tc["in"]
	{reason.code | some reason in denied} == tc.want
}

test_the_denial_says_what_would_be_right if {
	denied := production_floor.deny with input as _asked("production", {"scaleDeployment": {"deployment": "web", "replicas": 0}})
	every reason in denied {
		count(reason.remedy) > 0
	}
}
