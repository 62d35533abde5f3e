# METADATA
# title: Production floor
# description: Nobody scales a workload to zero while an alert of production is being handled.
# schemas:
#   - input: schema.action_input
package kubernaut.rules.action.production_floor

# METADATA
# description: The step would leave nothing running.
deny contains {
	"code": "scale_to_zero_in_production",
	"message": "scaling to zero is not allowed where alertContext.environment is production",
	"remedy": "keep at least one replica, or change alertContext.environment if this is not production",
} if {
	input.workflow.spec.alertContext.environment == "production"
	0 in _replicas
}

_replicas contains input.step.parameters.scaleDeployment.replicas

_replicas contains input.step.parameters.scaleStatefulset.replicas
