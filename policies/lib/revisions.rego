# METADATA
# title: Revisions of a Deployment
# description: Finds the pod template of an earlier revision among the ReplicaSets that the Deployment owns.
package kubernaut.lib.revisions

# METADATA
# description: The number of the revision that a Deployment is at.
current(deployment) := to_number(deployment.metadata.annotations["deployment.kubernetes.io/revision"])

# METADATA
# description: The number of the revision that is meant; 0 is the latest before the current one.
# scope: document
meant(_, _, wanted) := wanted if wanted != 0

meant(deployment, replicasets, 0) := max([number |
	some replicaset in _owned(deployment, replicasets)
	number := current(replicaset)
	number < current(deployment)
])

# METADATA
# description: The pod template of a revision; undefined unless exactly one ReplicaSet holds it.
template(deployment, replicasets, number) := json.remove(found[0], ["metadata/labels/pod-template-hash"]) if {
	found := [replicaset.spec.template | some replicaset in _owned(deployment, replicasets); current(replicaset) == number]
	count(found) == 1
}

_owned(deployment, replicasets) := [replicaset |
	some replicaset in replicasets
	some owner in replicaset.metadata.ownerReferences
	owner.controller == true
	owner.uid == deployment.metadata.uid
]
