# METADATA
# title: Questions for tests
# description: |
#   One question for each gate which that gate answers with allow, under `settings`. Change what a case is about with `put`, `without` and
#   `with_fact`. Those of dispatch and completion have a condition of the step's own, for which nobody stands in unless the test does.
package kubernaut.testing.questions

import data.kubernaut.testing.objects

# METADATA
# description: A question with one value added or replaced; objects on the way to it that are missing are made.
put(question, path, value) := json.patch(question, array.concat(
	[{"op": "add", "path": missing, "value": {}} | some missing in _missing(question, path)],
	[{"op": "add", "path": path, "value": value}],
))

_missing(question, path) := [concat("/", array.slice(parts, 0, length)) |
	parts := split(path, "/")
	some length in numbers.range(2, count(parts) - 1)
	length < count(parts)
	object.get(question, [_key(part) | some part in array.slice(parts, 1, length)], null) == null
]

# An index of an array is a number; `/` and `~` are escaped in JSON pointers.
_key(part) := to_number(part) if {
	regex.match(`^[0-9]+$`, part)
} else := replace(replace(part, "~1", "/"), "~0", "~")

# METADATA
# description: A question with the answer to one request; `id` is that of the request, as it is written there.
with_fact(question, id, fact) := object.union(question, {"facts": {id: fact}})

# METADATA
# description: A question without one place.
without(question, path) := json.patch(question, [{"op": "remove", "path": path}])

# METADATA
# description: The settings, as data.kubernaut.settings.
settings := {
	"max-parallel-steps": 5,
	"complexity-approval-threshold": 10,
	"cluster-name": "primary-cluster",
	"trusted-namespaces": ["kubernaut-system"],
	"allow-condition-loosening": false,
	"alertmanager-url": "",
	"monitoring-stability": "1m0s",
	"monitoring-timeout": "10m0s",
	"retry-base-delay": "1s",
	"retry-max-delay": "1m0s",
	"approval-timeout": "24h0m0s",
	"step-timeout": "5m0s",
}

# METADATA
# description: The codes of a verdict's reasons.
codes(answer) := {reason.code | some reason in answer.reasons}

# METADATA
# description: The codes of a verdict's warnings.
warnings(answer) := {warning.code | some warning in answer.warnings}

_workflow := {
	"metadata": {"name": "w", "namespace": "shop", "uid": "w-1", "generation": 1},
	"spec": {
		"workflowDefinition": {"name": "shop"},
		"executionStrategy": {"rollbackStrategy": "automatic"},
		"requestedBy": "ann",
	},
	"status": {
		"phase": "executing",
		"planHash": "p-1",
		"totalSteps": 2,
		"executionStartTime": "2026-01-01T00:00:00Z",
		"monitoringStartTime": "2026-01-01T00:05:00Z",
	},
}

_scale := {
	"stepNumber": 1,
	"name": "scale",
	"action": "scale_deployment",
	"parameters": {"scaleDeployment": {"deployment": "web", "replicas": 5}},
	"criticalStep": true,
	"maxRetries": 2,
	"dependsOn": [],
}

_restart := {
	"stepNumber": 2,
	"name": "restart",
	"action": "restart_deployment",
	"parameters": {"restartDeployment": {"deployment": "web"}},
	"criticalStep": true,
	"maxRetries": 0,
	"dependsOn": [1],
	"rollbackSpec": {
		"action": "restore_previous_deployment",
		"parameters": {"restorePreviousDeployment": {"deployment": "web", "revision": 1}},
	},
}

_asked(gate) := {"contract": "v1", "gate": gate, "now": "2026-01-01T00:10:00Z", "workflow": _workflow, "facts": {}}

# METADATA
# description: Two steps, the second after the first.
planning := object.union(_asked("planning"), {"steps": [_scale, _restart]})

# METADATA
# description: Two steps that were rehearsed, with every fact that the gate asks for.
safety := object.union(_asked("safety"), {
	"steps": [_scale, _restart],
	"dry_run": {"performed": true, "steps": [
		{"step": 1, "action": "scale_deployment", "decision": "allow", "reasons": [], "errors": [], "depends": false},
		{"step": 2, "action": "restart_deployment", "decision": "allow", "reasons": [], "errors": [], "depends": true},
	]},
	"facts": object.union(
		{id: {"available": true, "found": true, "allowed": true} | some id in _access},
		{
			"nodes": objects.listed([objects.node]),
			"namespace/shop": objects.found({"metadata": {"name": "shop"}, "status": {"phase": "Active"}}),
			"target/Deployment/shop/web": objects.found(objects.deployment),
		},
	),
})

_access := {
	"access/scale-deployment-sa/get/deployments.apps/shop",
	"access/scale-deployment-sa/patch/deployments.apps/shop",
	"access/scale-deployment-sa/list/pods./shop",
	"access/scale-deployment-sa/list/nodes./*",
	"access/restart-deployment-sa/get/deployments.apps/shop",
	"access/restart-deployment-sa/patch/deployments.apps/shop",
	"access/restart-deployment-sa/list/pods./shop",
}

# METADATA
# description: A plan that needs an approval and has one.
approval := object.union(_asked("approval"), {
	"workflow": object.union(_workflow, {
		"spec": {"executionStrategy": {"approvalRequired": true}},
		"status": {"approval": {"requestedAt": "2026-01-01T00:00:00Z", "expiresAt": "2026-01-02T00:00:00Z"}},
	}),
	"steps": [_scale, _restart],
	"approvals": [{
		"approver": "bob",
		"groups": ["sre"],
		"decision": "Approved",
		"planHash": "p-1",
		"workflowUid": "w-1",
		"comment": "",
		"time": "2026-01-01T00:01:00Z",
		"source": "WorkflowApproval",
	}],
})

# METADATA
# description: Two steps that are ready, and one that runs; the first has a precondition by reference.
dispatch := object.union(_asked("dispatch"), {
	"steps": [
		object.union(_scale, {"preConditions": [{
			"type": "queue_empty",
			"rego": "shop-conditions:queue.rego:holds",
			"required": true,
			"timeout": "30s",
		}]}),
		object.union(_restart, {"dependsOn": []}),
		object.union(_restart, {"stepNumber": 3, "name": "other", "status": "executing"}),
	],
	"ready": [1, 2],
	"running": [3],
	"since": {},
})

_attempt := {
	"name": "w-step-1",
	"uid": "a-1",
	"number": 0,
	"owned": true,
	"phase": "completed",
	"operations": [{
		"do": {"verb": "patch", "apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"},
		"undo": {"verb": "patch", "apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web", "body": [
			{"op": "test", "path": "/metadata/uid", "value": "d-1"},
			{"op": "test", "path": "/spec/replicas", "value": 5},
			{"op": "replace", "path": "/spec/replicas", "value": 3},
		]},
		"sentAt": "2026-01-01T00:09:00Z",
		"answeredAt": "2026-01-01T00:09:01Z",
	}],
	"since": {},
}

# METADATA
# description: A step whose attempt ended well, with a postcondition by reference.
completion := object.union(_asked("completion"), {
	"step": object.union(_scale, {"postConditions": [{
		"type": "queue_empty",
		"rego": "shop-conditions:queue.rego:holds",
		"required": true,
		"timeout": "30s",
	}]}),
	"attempt": _attempt,
	"since": {},
})

# METADATA
# description: A step whose first attempt failed.
failure := object.union(_asked("failure"), {
	"step": object.union(_scale, {"retriesAttempted": 0, "operationsSent": true, "reversible": true, "status": "executing"}),
	"steps": [object.union(_scale, {"operationsSent": true, "reversible": true, "status": "executing", "attempts": 1})],
	"attempt": object.union(_attempt, {
		"phase": "failed",
		"errorType": "execution_error",
		"failureReason": "postcondition_failed",
		"message": "not ready",
	}),
})

# METADATA
# description: Two completed steps whose target has been healthy for long enough.
monitoring := object.union(_asked("monitoring"), {
	"steps": _done,
	"facts": {"Deployment/shop/web": objects.found(objects.deployment)},
})

_done := [
	object.union(_scale, {
		"status": "completed",
		"attempts": 1,
		"completionOrder": 1,
		"operationsSent": true,
		"reversible": true,
	}),
	object.union(_restart, {
		"status": "completed",
		"attempts": 1,
		"completionOrder": 2,
		"operationsSent": true,
		"reversible": true,
	}),
]

# METADATA
# description: Two completed steps.
rollback := object.union(_asked("rollback"), {"steps": _done})

# METADATA
# description: An attempt to scale a Deployment from three to five.
action := object.union(_asked("action"), {
	"step": _scale,
	"attempt": object.remove(_attempt, ["operations"]),
	"facts": {
		"deployment": objects.found(objects.deployment),
		"pods": objects.listed([objects.pod("web-a"), objects.pod("web-b"), objects.pod("web-c")]),
		"nodes": objects.listed([objects.node]),
		"cluster_pods": objects.listed([]),
	},
})

# METADATA
# description: The same attempt after its operation, at the goal.
verify := object.union(_asked("verify"), {
	"step": _scale,
	"attempt": _attempt,
	"facts": {
		"deployment": objects.found(objects.scaled(5)),
		"pods": objects.listed([objects.pod("web-a")]),
	},
})
