# METADATA
# title: Patches that know what they change
# description: |
#   Makes `do` and `undo` of one operation from one pre-image. Both are JSON patches of the leaves that differ. `do` also tests uid and
#   generation (or resourceVersion), so that it lands once or never; `undo` tests uid and the values that `do` wrote, so that nobody's
#   later change is overwritten. A list counts as one leaf.
package kubernaut.lib.patch

# METADATA
# description: The operation that turns one object into another, and back.
operation(target, before, after) := {
	"do": request(target, array.concat(guards(before), _body(_edits(_comparable(before), _comparable(after))))),
	"undo": undo(target, before, after),
}

# METADATA
# description: The way back from `after` to `before`.
undo(target, before, after) := request(target, array.concat(identity(before), _body([[path, new, old] |
	some [path, old, new] in _edits(_opened(_comparable(before), _comparable(after)), _comparable(after))
])))

# METADATA
# description: A JSON patch of the target.
request(target, body) := object.union(target, {"verb": "patch", "patchType": "json", "body": body})

# METADATA
# description: The tests that bind a patch to this object in this very generation (or, without one, this version).
guards(resource) := array.concat(identity(resource), [_moment(resource)])

# METADATA
# description: The test that binds a patch to this object, not to a later one of the same name.
identity(resource) := [{"op": "test", "path": "/metadata/uid", "value": resource.metadata.uid}]

# METADATA
# description: A JSON pointer; `~` and `/` in its segments are escaped.
pointer(segments) := concat("", [sprintf("/%s", [replace(replace(segment, "~", "~0"), "/", "~1")]) | some segment in segments])

# METADATA
# description: True when every value that an undo would take back is there. A removal leaves nothing to look for.
landed(resource, recorded) if {
	count(recorded.body) > 0
	is_object(json.patch(resource, [entry | some entry in recorded.body; entry.op == "test"]))
}

# METADATA
# description: The values that an undo puts back (as text, cut to what a status can hold).
former(recorded) := _excerpt([{entry.path: entry.value} |
	some entry in recorded.body
	entry.op != "test"
])

# METADATA
# description: The values that an undo takes back (as text, cut to what a status can hold).
present(recorded) := _excerpt([{entry.path: entry.value} |
	some entry in recorded.body
	entry.op == "test"
	entry.path != "/metadata/uid"
])

_excerpt(values) := substring(json.marshal(object.union_n(values)), 0, 512)

# No JSON value is a set.
_absent := set()

_moment(resource) := {"op": "test", "path": "/metadata/generation", "value": resource.metadata.generation} if {
	"generation" in object.keys(resource.metadata)
} else := {"op": "test", "path": "/metadata/resourceVersion", "value": resource.metadata.resourceVersion}

# What belongs to the author of an object; the rest belongs to the server and its controllers.
_comparable(resource) := object.union(
	json.remove(
		object.remove(resource, ["apiVersion", "kind", "metadata", "status"]),
		["spec/template/metadata/creationTimestamp"],
	),
	{"metadata": object.union(
		{"labels": labels | labels := resource.metadata.labels},
		{"annotations": object.remove(annotations, ["deployment.kubernetes.io/revision"]) | annotations := resource.metadata.annotations},
	)},
)

# Maps that may be left empty instead of being taken away: the server drops an empty one.
_maps := [
	["data"],
	["binaryData"],
	["metadata", "annotations"],
	["metadata", "labels"],
	["spec", "template", "metadata", "annotations"],
	["spec", "template", "metadata", "labels"],
]

# The pre-image with the maps that the change brings, still empty: the way back then takes out keys one by one, not the whole map,
# which others may have written to since.
_opened(before, after) := json.patch(before, [{"op": "add", "path": path, "value": {}} |
	some path in _maps
	object.get(before, path, _absent) == _absent
	is_object(object.get(after, path, _absent))
	is_object(object.get(before, array.slice(path, 0, count(path) - 1), _absent))
])

# Sorted triples of path, value before and value after, for the topmost paths where the two differ. No path lies below another.
_edits(before, after) := sort({[path, old, new] |
	some path in _changed(before, after)
	parent := array.slice(path, 0, count(path) - 1)
	is_object(object.get(before, parent, _absent))
	is_object(object.get(after, parent, _absent))
	old := object.get(before, path, _absent)
	new := object.get(after, path, _absent)
	{type_name(old), type_name(new)} != {"object"}
})

# Where the two differ, at any depth. What is the same on both sides is dropped before anything looks at it closer: most of an object is.
_changed(before, after) := {path |
	old := _nodes(before)
	new := _nodes(after)
	differing := (old - new) | (new - old)
	some [path, _] in differing
	count(path) > 0
	every segment in path {
		is_string(segment)
	}
}

_nodes(document) := {node | walk(document, node)}

_body(edits) := array.concat(
	[{"op": "test", "path": pointer(path), "value": old} | some [path, old, _] in edits; old != _absent],
	[_write(path, old, new) | some [path, old, new] in edits],
)

_write(path, _, new) := {"op": "remove", "path": pointer(path)} if new == _absent

_write(path, old, new) := {"op": "add", "path": pointer(path), "value": new} if {
	old == _absent
	new != _absent
}

_write(path, old, new) := {"op": "replace", "path": pointer(path), "value": new} if {
	old != _absent
	new != _absent
}
