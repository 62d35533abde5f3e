package kubernaut.lib.capacity_test

import data.kubernaut.lib.capacity
import data.kubernaut.testing.objects

tainted(taint) := object.union(objects.node, {"spec": {"taints": [taint]}})

test_a_node_is_usable[note] if {
	some note, tc in {
		"ready and open": {"node": objects.node, "spec": {}, "want": 1},
		"cordoned": {"node": object.union(objects.node, {"spec": {"unschedulable": true}}), "spec": {}, "want": 0},
		"not ready": {
			"node": object.union(objects.node, {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
			"spec": {},
			"want": 0,
		},
		"tainted": {"node": tainted({"key": "gpu", "effect": "NoSchedule"}), "spec": {}, "want": 0},
		"tainted mildly": {"node": tainted({"key": "gpu", "effect": "PreferNoSchedule"}), "spec": {}, "want": 1},
		"tainted, tolerated by value": {
			"node": tainted({"key": "gpu", "value": "a", "effect": "NoSchedule"}),
			"spec": {"tolerations": [{"key": "gpu", "value": "a", "effect": "NoSchedule"}]},
			"want": 1,
		},
		"tainted, another value tolerated": {
			"node": tainted({"key": "gpu", "value": "a", "effect": "NoSchedule"}),
			"spec": {"tolerations": [{"key": "gpu", "value": "b"}]},
			"want": 0,
		},
		"tainted, another effect tolerated": {
			"node": tainted({"key": "gpu", "effect": "NoExecute"}),
			"spec": {"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]},
			"want": 0,
		},
		"tainted, everything tolerated": {
			"node": tainted({"key": "gpu", "effect": "NoExecute"}),
			"spec": {"tolerations": [{"operator": "Exists"}]},
			"want": 1,
		},
	}
	count(capacity.usable([tc.node], tc.spec)) == tc.want
}

test_a_pod_asks_for_its_containers_together_or_its_largest_init_container[note] if {
	some note, tc in {
		"nothing": {"spec": {"containers": [{"name": "a"}]}, "want": 0},
		"containers add up": {"spec": {"containers": [asking("100m"), asking("1")]}, "want": 1.1},
		"an init container is larger": {
			"spec": {"containers": [asking("100m")], "initContainers": [asking("2"), asking("1")]},
			"want": 2,
		},
		"an init container is smaller": {"spec": {"containers": [asking("500m")], "initContainers": [asking("1m")]}, "want": 0.5},
		"sidecars run beside the containers": {
			"spec": {"containers": [asking("500m")], "initContainers": [sidecar("250m"), sidecar("250m")]},
			"want": 1,
		},
		"sidecars run beside the other init containers": {
			"spec": {"containers": [asking("500m")], "initContainers": [sidecar("250m"), asking("1"), asking("2")]},
			"want": 2.25,
		},
		"a sidecar that asks for nothing": {
			"spec": {"containers": [asking("500m")], "initContainers": [{"restartPolicy": "Always"}]},
			"want": 0.5,
		},
		"the runtime adds to it": {"spec": {"containers": [asking("500m")], "overhead": {"cpu": "250m"}}, "want": 0.75},
		"the runtime adds to an init container": {
			"spec": {"containers": [asking("500m")], "initContainers": [asking("1")], "overhead": {"cpu": "250m"}},
			"want": 1.25,
		},
		"the runtime adds something else": {"spec": {"containers": [asking("500m")], "overhead": {"memory": "1Gi"}}, "want": 0.5},
	}
	capacity.requested(tc.spec, "cpu") == tc.want
}

asking(cpu) := {"resources": {"requests": {"cpu": cpu}}}

sidecar(cpu) := object.union(asking(cpu), {"restartPolicy": "Always"})

test_a_quantity_that_cannot_be_read_makes_the_sum_unknown[note] if {
	some note, sums in {
		"of a container": {total | total := capacity.requested({"containers": [asking("1"), asking("much")]}, "cpu")},
		"of an init container": {total | total := capacity.requested({"containers": [], "initContainers": [asking("much")]}, "cpu")},
		"of a sidecar": {total | total := capacity.requested({"containers": [], "initContainers": [sidecar("much")]}, "cpu")},
		"of the runtime": {total | total := capacity.requested({"containers": [], "overhead": {"cpu": "much"}}, "cpu")},
		"of the nodes": {total | total := capacity.allocatable([{"status": {"allocatable": {"cpu": "much"}}}], "cpu")},
		"of a node that says nothing": {total | total := capacity.allocatable([{"status": {}}], "cpu")},
		"of the pods": {total | total := capacity.claimed([greedy], [objects.node], "cpu")},
	}
	count(sums) == 0
}

greedy := {"spec": {"nodeName": "n-1", "containers": [asking("much")]}}

test_only_pods_on_these_nodes_count if {
	elsewhere := object.union(objects.pod("b"), {"spec": {"nodeName": "n-9"}})
	capacity.claimed([objects.pod("a"), elsewhere], [objects.node], "cpu") == 0.5
}

test_nodes_are_selected_by_label if {
	capacity.selected([objects.node], {"nodeSelector": {"disk": "ssd"}}) == [objects.node]
	capacity.selected([objects.node], {"nodeSelector": {"disk": "tape"}}) == []
}
