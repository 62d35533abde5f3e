# METADATA
# title: Operations
# description: The form of what is sent to the API server. What has another form could not be carried out as it was meant, so it is refused.
package kubernaut.lib.operations

# METADATA
# description: True for an entry of `{do, undo}` whose requests can be carried out.
is_usable(operation) if {
	object.keys(operation) == {"do", "undo"}
	_is_request(operation.do)
	_is_way_back(operation.undo)
}

_is_way_back(null)

_is_way_back(request) if _is_request(request)

_is_request(request) if {
	is_object(request)
	request.verb in {"patch", "create", "delete", "evict", "job"}
	count(object.keys(request) & {"apiVersion", "kind", "name"}) == 3
	every field, value in request {
		_is_typed(field, value)
	}
}

_is_typed(field, value) if {
	field in {"verb", "apiVersion", "kind", "namespace", "name", "subresource", "uid"}
	is_string(value)
}

_is_typed("patchType", value) if value in {"json", "merge", "strategic", "apply"}

_is_typed("body", value) if is_object(value)

_is_typed("body", value) if {
	is_array(value)
	every entry in value {
		_is_edit(entry)
	}
}

_is_edit(entry) if {
	entry.op in {"test", "add", "replace"}
	is_string(entry.path)
	"value" in object.keys(entry)
}

_is_edit(entry) if {
	entry.op == "remove"
	is_string(entry.path)
}

_is_edit(entry) if {
	entry.op in {"move", "copy"}
	is_string(entry.path)
	is_string(entry.from)
}

_is_typed("gracePeriodSeconds", value) if {
	is_number(value)
	value == floor(value)
}
