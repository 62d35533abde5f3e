# METADATA
# title: Roll a Deployment back
# description: |
#   Puts the pod template of an earlier revision back: the one that is named, or the latest before the current one (revision 0). The
#   template comes from the ReplicaSet that the Deployment owns. Taking it back restores the template that was replaced.
# custom:
#   reversible: true
#   example:
#     action: rollback-deployment
#     parameters:
#       rollbackDeployment: {namespace: shop, deployment: web, revision: 0}
package kubernaut.actions.rollback_deployment

import data.kubernaut.lib.earlier_template

member := "rollbackDeployment"

service_account := "rollback-deployment-sa"

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
