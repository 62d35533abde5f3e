# METADATA
# title: Production floor
# description: |
#   Nobody scales a workload to zero while an alert of production is being handled, neither by a number of replicas nor by a patch. What a
#   patch comes to is what the API server previews; before that, what its author wrote. Taking back what is on record is no such step.
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
	not _undoing
	0 in _replicas
}

_undoing if "undo" in object.keys(input)

_replicas contains input.step.parameters.scaleDeployment.replicas

_replicas contains input.step.parameters.scaleStatefulset.replicas

# A workload that was at zero before may be patched in other places.
_replicas contains after if {
	_scalable
	_previewed
	after := input.facts.preview.object.spec.replicas
	after != object.get(input.facts.object.object, ["spec", "replicas"], "none")
}

_replicas contains _written.spec.replicas if {
	_scalable
	not _previewed
}

_replicas contains entry.value if {
	some entry in _entries
	entry.path == "/spec/replicas"
}

_replicas contains entry.value.replicas if {
	some entry in _entries
	entry.path == "/spec"
}

_written := input.step.parameters.patchResource.patch

_entries contains entry if {
	_scalable
	not _previewed
	is_array(_written)
	some entry in _written
	entry.op in {"add", "replace"}
}

_scalable if input.step.parameters.patchResource.kind in {"Deployment", "ReplicaSet", "StatefulSet"}

_previewed if {
	input.facts.preview.found == true
	is_object(input.facts.object.object)
}
