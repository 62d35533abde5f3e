# METADATA
# title: Notify only
# description: Touches nothing. Its message is the result of the attempt, for people and for what watches the workflow.
# custom:
#   reversible: true
#   example:
#     action: notify-only
#     parameters:
#       notifyOnly: {message: web is at its limit, severity: warning}
package kubernaut.actions.notify_only

import data.kubernaut.lib.outcomes

member := "notifyOnly"

service_account := "notify-only-sa"

executor := "api"

timeout_seconds := 30

estimated_seconds := 1

# There is nothing to take back.
reversible := true

no_operations := true

operations := []

permissions := []

facts := set()

preconditions := {}

postconditions := {}

holds := set()

_wanted := input.step.parameters[member]

_severity := object.get(_wanted, "severity", "info")

parameters_valid if {
	is_string(_wanted.message)
	count(_wanted.message) > 0
	is_string(_severity)
}

# The workflow itself is what it speaks of.
target := {
	"apiVersion": "workflowexecution.kubernaut.ai/v1alpha1",
	"kind": "WorkflowExecution",
	"namespace": input.workflow.metadata.namespace,
	"name": input.workflow.metadata.name,
}

state["message"] := _wanted.message

state["severity"] := _severity

result := outcomes.result(postconditions, holds, [], {"customResult": {
	"actionType": "notify_only",
	"output": {"message": _wanted.message, "severity": _severity},
}})
