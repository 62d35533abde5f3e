# METADATA
# title: Facts
# description: |
#   What gates want to have read, and whether it has been. A 404 is an answer; only `available: true` is knowledge, and a request that
#   is not `optional` holds its gate back until it is known.
package kubernaut.lib.facts

# METADATA
# description: The requests among these that the controller can carry out.
usable(requests) := {request | some request in requests; _is_usable(request)}

# METADATA
# description: Reasons for requests that the controller could not even read.
malformed(gate, requests) := {reason |
	some request in (requests - usable(requests))
	reason := {
		"code": "fact_malformed",
		"message": sprintf("this is no request for a fact: %s", [substring(json.marshal(request), 0, 256)]),
		"policy": gate,
		"remedy": "write {\"id\", \"verb\", …}; the policy reference lists the verbs and their fields",
	}
}

# METADATA
# description: Reasons for ids that are asked for with different content.
conflicts(gate, requests) := {reason |
	some id, contents in {id: contents |
		some id in {request.id | some request in requests}
		contents := [request | some request in requests; request.id == id]
	}
	count(contents) > 1
	reason := {
		"code": "fact_id_conflict",
		"message": sprintf("two different reads are asked for under the id %s", [id]),
		"policy": gate,
		"remedy": "give each read an id of its own, for example with the package's name in front",
	}
}

# METADATA
# description: True once every request that is not optional has been answered.
settled(requests) if count(missing("", requests)) == 0

# METADATA
# description: Reasons to wait for what is not known yet.
missing(gate, requests) := {reason |
	some id in ({request.id | some request in requests; object.get(request, "optional", false) == false} - _known)
	reason := {
		"code": "fact_missing",
		"message": sprintf("%s is not known: %s", [id, _cause(id)]),
		"policy": gate,
		"remedy": "it is read again by itself; if it stays so, mend what the message names: a missing right, or a server that does not answer",
	}
}

_known contains id if {
	some id, fact in input.facts
	fact.available == true
}

_cause(id) := trim_space(sprintf("%s %s", [fact.reason, _message(fact)])) if {
	fact := input.facts[id]
	is_string(fact.reason)
} else := "it has not been read yet"

_message(fact) := fact.message if {
	is_string(fact.message)
} else := ""

_verbs := {"get", "list", "access", "executions", "preview", "alerts", "history"}

_texts := {
	"id", "verb", "apiVersion", "kind", "namespace", "name", "labelSelector", "fieldSelector",
	"serviceAccount", "accessVerb", "group", "resource", "subresource", "action",
}

_is_usable(request) if {
	is_object(request)
	count(request.id) > 0
	request.verb in _verbs
	every field, value in request {
		_is_typed(field, value)
	}
}

_is_typed(field, value) if {
	field in _texts
	is_string(value)
}

_is_typed("limit", value) if {
	is_number(value)
	value == floor(value)
}

_is_typed("optional", value) if is_boolean(value)

_is_typed("request", value) if is_object(value)
