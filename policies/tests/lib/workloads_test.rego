package kubernaut.lib.workloads_test

import data.kubernaut.lib.workloads
import data.kubernaut.testing.objects

test_a_selector_becomes_text[note] if {
	some note, tc in {
		"labels": {"selector": {"matchLabels": {"b": "2", "a": "1"}}, "want": "a=1,b=2"},
		"expressions": {
			"selector": {"matchExpressions": [
				{"key": "a", "operator": "In", "values": ["1", "2"]},
				{"key": "b", "operator": "NotIn", "values": ["3"]},
				{"key": "c", "operator": "Exists"},
				{"key": "d", "operator": "DoesNotExist"},
			]},
			"want": "a in (1,2),b notin (3),c,!d",
		},
	}
	workloads.selector({"spec": {"selector": tc.selector}}) == tc.want
}

test_an_expression_that_is_not_understood_selects_nothing_wider if {
	workload := {"spec": {"selector": {
		"matchLabels": {"a": "1"},
		"matchExpressions": [{"key": "x", "operator": "Gt", "values": ["1"]}],
	}}}
	got := {selector | selector := workloads.selector(workload)}
	count(got) == 0
}

test_pods_that_were_starved[note] if {
	killed := {"terminated": {"reason": "OOMKilled"}}
	some note, tc in {
		"evicted": {"change": {"status": {"reason": "Evicted"}}, "want": {"a"}},
		"killed now": {"change": {"status": {"containerStatuses": [{"state": killed}]}}, "want": {"a"}},
		"killed before": {"change": {"status": {"containerStatuses": [{"lastState": killed}]}}, "want": {"a"}},
		"well": {"change": {}, "want": set()},
	}
	workloads.starved([object.union(objects.pod("a"), tc.change)]) == tc.want
}

test_a_partitioned_or_manual_set_need_not_be_at_one_revision[note] if {
	base := {
		"kind": "StatefulSet",
		"metadata": {"generation": 1},
		"spec": {"replicas": 0},
		"status": {"observedGeneration": 1, "currentRevision": "1", "updateRevision": "2"},
	}
	some note, strategy in {
		"updated on deletion": {"type": "OnDelete"},
		"partitioned": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}},
	}
	workloads.rolled_out(object.union(base, {"spec": {"updateStrategy": strategy}}))
}

test_a_pod_on_its_way_out_is_not_ready if {
	leaving := object.union(objects.pod("a"), {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
	got := [pod | some pod in [leaving, objects.pod("b")]; workloads.pod_ready(pod)]
	got == [objects.pod("b")]
}
