# METADATA
# title: Alerts
# description: |
#   Which alerts of the Alertmanager concern the objects that a workflow touched. Others are strangers' and never read.
#   An alert concerns an object when its labels name that object, by Prometheus' custom of one label per kind:
#   - `namespace` is the object's, and `deployment`, `statefulset`, `daemonset`, `replicaset`, `job_name`, `persistentvolumeclaim` and the
#     like is its name, or `app`, `service` or `workload` is;
#   - `namespace` is the object's, and `pod` is a pod of it, by the form of the name that its controller gives to pods. A pod that was
#     touched stands for its owner too: the owner makes another in its place;
#   - `node` is the node, or `instance` is, with or without a port.
#   An alert of the namespace that names no object at all concerns everything in it. One without a namespace concerns nodes only.
#   The alert that the workflow was made for (spec.alertContext.fingerprint) is never a new one, even when it went and came back.
package kubernaut.lib.alerts

import data.kubernaut.lib.targets

# METADATA
# description: The requests for what may concern these objects, each optional.
requests(touched) := {request |
	some id, matcher in _matchers(touched)
	request := {"id": sprintf("alerts/%s", [id]), "verb": "alerts", "labelSelector": matcher, "optional": true}
}

# METADATA
# description: The alerts that concern these objects and began after an instant, without the workflow's own.
new(touched, instant) := {alert |
	names := _places_of(touched)
	namespaces := _namespaces(touched)
	some alert in _found(touched)
	alert.fingerprint != _own
	time.parse_rfc3339_ns(alert.startsAt) > time.parse_rfc3339_ns(instant)
	_concerns(alert.labels, names, namespaces)
}

# METADATA
# description: The alert that the workflow was made for, as far as it still fires where the workflow worked.
own(touched) := {alert |
	some alert in _found(touched)
	alert.fingerprint == _own
}

# METADATA
# description: Why not all alerts are known, in words. Nothing where all are, or were not read yet.
unknown(touched) := {why |
	some request in requests(touched)
	fact := input.facts[request.id]
	why := _why(fact)
}

# METADATA
# description: What an alert is called.
words(alert) := substring(alert.labels.alertname, 0, 128) if {
	is_string(alert.labels.alertname)
} else := sprintf("%v", [alert.fingerprint])

default _own := null

_own := input.workflow.spec.alertContext.fingerprint

_why(fact) := object.get(fact, "message", "nobody says why") if {
	fact.available == false
} else := "there are more alerts than are read at once" if {
	fact.truncated == true
}

# What is asked for. Names that could mean more than themselves in a matcher are left out.

_matchers(touched) := {id: matcher |
	some id, [form, names] in {
		"namespaces": [`namespace=~"%s"`, _namespaces(touched)],
		"nodes": [`node=~"%s"`, _nodes(touched)],
		"instances": [`instance=~"(%s)(:[0-9]+)?"`, _nodes(touched)],
	}
	count(names) > 0
	matcher := sprintf(form, [concat("|", sort({replace(name, ".", "[.]") | some name in names}))])
}

_namespaces(touched) := {target.namespace | some target in touched; _is_plain(target.namespace)}

_nodes(touched) := {target.name | some target in touched; target.kind == "Node"; _is_plain(target.name)}

_is_plain(name) if regex.match(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`, name)

_found(touched) := {alert |
	some request in requests(touched)
	some alert in input.facts[request.id].items
}

# What an alert is about, and what was touched, both as places: labels of targets, and `*` for any kind of that name.

_concerns(labels, names, _) if count(_places(labels) & names) > 0

_concerns(labels, _, namespaces) if {
	count(object.keys(labels) & _naming) == 0
	labels.namespace in namespaces
}

_places_of(touched) := union({_places_of_one(target) | some target in touched; is_string(target.name)})

_places_of_one(target) := {targets.label(target), _place("*", object.get(target, "namespace", ""), target.name)} if {
	target.kind != "Pod"
} else := {targets.label(target)} | (_owners(target.namespace, target.name) | _namesakes(target.namespace, target.name))

_namesakes(namespace, pod) := {_place("*", namespace, name) |
	some form, _ in _pods
	some name in _captured(form, pod)
}

_places(labels) := union({
	{_place(kind, labels.namespace, labels[key]) | some key, kind in _kinds},
	{place | some place in _owners(labels.namespace, labels.pod)},
	{_place("Deployment", labels.namespace, name) | some name in _captured(_replicaset, labels.replicaset)},
	{_place("Node", "", name) | name := labels.node},
	{_place("Node", "", name) | some name in _captured(`^([^:]+)(?::[0-9]+)?$`, labels.instance)},
})

_place(kind, namespace, name) := concat("/", [kind, namespace, name])

# Labels that name an object, and its kind.
_kinds := {
	"app": "*",
	"configmap": "ConfigMap",
	"cronjob": "CronJob",
	"daemonset": "DaemonSet",
	"deployment": "Deployment",
	"horizontalpodautoscaler": "HorizontalPodAutoscaler",
	"ingress": "Ingress",
	"job_name": "Job",
	"networkpolicy": "NetworkPolicy",
	"persistentvolumeclaim": "PersistentVolumeClaim",
	"pod": "Pod",
	"poddisruptionbudget": "PodDisruptionBudget",
	"replicaset": "ReplicaSet",
	"secret": "Secret",
	"service": "*",
	"statefulset": "StatefulSet",
	"workload": "*",
}

_naming := object.keys(_kinds) | {"node"}

# Who may own a pod of this name. Kubernetes makes the ends of such names of these letters only, so `web-admin-x2x7k` is no pod of `web`.
# Of a Deployment with a long name the last dash is cut away.

_owners(namespace, pod) := {_place(kind, namespace, name) |
	some form, kinds in _pods
	some name in _captured(form, pod)
	some kind in kinds
}

_pods := {
	`^(.+)-[bcdfghjklmnpqrstvwxz2456789]{1,10}-[bcdfghjklmnpqrstvwxz2456789]{5}$`: {"Deployment"},
	`^(.+)-[bcdfghjklmnpqrstvwxz2456789]{6,15}$`: {"Deployment"},
	`^(.+)-[bcdfghjklmnpqrstvwxz2456789]{5}$`: {"DaemonSet", "Job", "ReplicaSet"},
	`^(.+)-[0-9]+$`: {"StatefulSet"},
}

_replicaset := `^(.+)-[bcdfghjklmnpqrstvwxz2456789]{1,10}$`

_captured(form, text) := {found[1] | some found in regex.find_all_string_submatch_n(form, text, 1)}
