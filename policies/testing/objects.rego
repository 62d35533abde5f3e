# METADATA
# title: Objects for tests
# description: Kubernetes objects and facts as the controller hands them in; modify what a case is about with object.union or json.patch.
package kubernaut.testing.objects

# METADATA
# description: A Deployment of three replicas, rolled out and healthy.
deployment := {
	"apiVersion": "apps/v1",
	"kind": "Deployment",
	"metadata": {
		"name": "web",
		"namespace": "shop",
		"uid": "d-1",
		"generation": 4,
		"resourceVersion": "100",
		"annotations": {"deployment.kubernetes.io/revision": "2"},
	},
	"spec": {
		"replicas": 3,
		"selector": {"matchLabels": {"app": "web"}},
		"template": {
			"metadata": {"labels": {"app": "web"}},
			"spec": {
				"terminationGracePeriodSeconds": 30,
				"containers": [{"name": "app", "image": "web:2", "resources": {"requests": {"cpu": "500m", "memory": "256Mi"}}}],
			},
		},
	},
	"status": {
		"observedGeneration": 4,
		"replicas": 3,
		"updatedReplicas": 3,
		"readyReplicas": 3,
		"availableReplicas": 3,
		"conditions": [{"type": "Available", "status": "True"}, {"type": "Progressing", "status": "True"}],
	},
}

# METADATA
# description: The Deployment with other numbers of replicas, all of them available.
scaled(replicas) := object.union(deployment, {
	"spec": {"replicas": replicas},
	"status": {
		"replicas": replicas,
		"updatedReplicas": replicas,
		"readyReplicas": replicas,
		"availableReplicas": replicas,
	},
})

# METADATA
# description: A ReplicaSet of the Deployment, one revision of it.
replicaset(number, image) := {
	"apiVersion": "apps/v1",
	"kind": "ReplicaSet",
	"metadata": {
		"name": sprintf("web-%d", [number]),
		"namespace": "shop",
		"uid": sprintf("rs-%d", [number]),
		"annotations": {"deployment.kubernetes.io/revision": sprintf("%d", [number])},
		"ownerReferences": [{"kind": "Deployment", "name": "web", "uid": "d-1", "controller": true}],
	},
	"spec": {
		"replicas": 3,
		"selector": {"matchLabels": {"app": "web", "pod-template-hash": sprintf("%d", [number])}},
		"template": {
			"metadata": {"labels": {"app": "web", "pod-template-hash": sprintf("%d", [number])}},
			"spec": {"containers": [{"name": "app", "image": image}]},
		},
	},
}

# METADATA
# description: A ready pod of ReplicaSet web-2 on node n-1.
pod(name) := {
	"metadata": {
		"name": name,
		"namespace": "shop",
		"uid": sprintf("uid-%s", [name]),
		"ownerReferences": [{"kind": "ReplicaSet", "name": "web-2", "uid": "rs-2", "controller": true}],
	},
	"spec": {
		"nodeName": "n-1",
		"containers": [{"name": "app", "image": "web:2", "resources": {"requests": {"cpu": "500m", "memory": "256Mi"}}}],
	},
	"status": {
		"phase": "Running",
		"conditions": [{"type": "Ready", "status": "True"}],
		"containerStatuses": [{"name": "app", "state": {"running": {}}}],
	},
}

# METADATA
# description: A pod whose container waits for a reason.
waiting_pod(name, reason) := json.patch(pod(name), [
	{"op": "replace", "path": "/status/containerStatuses/0/state", "value": {"waiting": {"reason": reason}}},
	{"op": "replace", "path": "/status/conditions/0/status", "value": "False"},
])

# METADATA
# description: A ready node with 4 cores and 8 GiB.
node := {
	"apiVersion": "v1",
	"kind": "Node",
	"metadata": {"name": "n-1", "uid": "n-uid", "resourceVersion": "7", "labels": {"disk": "ssd"}},
	"spec": {},
	"status": {
		"allocatable": {"cpu": "4", "memory": "8Gi"},
		"conditions": [{"type": "Ready", "status": "True"}],
	},
}

# METADATA
# description: The fact of an object that exists.
found(resource) := {"available": true, "found": true, "object": resource}

# METADATA
# description: The fact of a list.
listed(items) := {"available": true, "found": true, "items": items, "truncated": false}

# METADATA
# description: The fact of an object that does not exist.
absent := {"available": true, "found": false}

# METADATA
# description: A fact that could not be read.
unknown(reason) := {"available": false, "reason": reason}

# METADATA
# description: A question about one step of a workflow in namespace shop.
question(gate, action, parameters, facts) := {
	"contract": "v1",
	"gate": gate,
	"now": "2026-01-01T00:00:00Z",
	"workflow": {"metadata": {"name": "w", "namespace": "shop", "uid": "w-1"}, "spec": {}},
	"step": {"stepNumber": 1, "name": "s", "action": action, "parameters": parameters},
	"attempt": {"name": "w-step-1", "uid": "a-1", "number": 0, "owned": true},
	"facts": facts,
}

# METADATA
# description: The question of the gate verify, with the operations that were sent.
sent(action, parameters, operations, facts) := object.union(
	question("verify", action, parameters, facts),
	{"attempt": {"operations": operations}},
)

# METADATA
# description: The object after an operation; undefined if one of its tests fails.
done(operation, resource) := json.patch(resource, operation.do.body)

# METADATA
# description: True when an operation and its undo leave the object as it was (maps that are left empty do not count).
undone(operation, resource) if {
	back := json.patch(done(operation, resource), operation.undo.body)
	_bare(back) == _bare(resource)
}

_bare(resource) := json.remove(resource, [path |
	some path in ["metadata/annotations", "metadata/labels", "data", "spec/template/metadata/annotations"]
	object.get(resource, split(path, "/"), null) == {}
])
