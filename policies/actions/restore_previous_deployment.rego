# METADATA
# title: Restore the earlier Deployment
# description: |
#   Puts the pod template of the revision before the current one (or of a named one) back. Meant for a step's rollbackSpec, where the step
#   itself has made the current revision.
# custom:
#   reversible: true
#   example:
#     rollbackSpec:
#       action: restore-previous-deployment
#       parameters:
#         restorePreviousDeployment: {namespace: shop, deployment: web}
package kubernaut.actions.restore_previous_deployment

import data.kubernaut.lib.earlier_template

member := "restorePreviousDeployment"

service_account := "restore-previous-deployment-sa"

executor := "api"

timeout_seconds := 600

estimated_seconds := 60

reversible := true

permissions := [
	{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]},
	{"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["list"]},
	{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
]

parameters_valid if earlier_template.parameters_valid

target := earlier_template.target

facts := earlier_template.facts

state := earlier_template.state

preconditions := earlier_template.preconditions

postconditions := earlier_template.postconditions

holds := earlier_template.holds

operations := earlier_template.operations

result := earlier_template.result
