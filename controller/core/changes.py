"""What an operation changes, in words for people: read from the rendered request and its way back, so that nothing has to be asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.core.verdict import Operation, OperationRequest

_MOST = 32
_LONGEST = 256
_HIDDEN = "(not shown)"
_OF_THE_SERVER = frozenset({"uid", "resourceVersion", "generation", "name", "namespace"})
_DONE_TO = {"patch": "update", "create": "create", "job": "create", "delete": "delete", "evict": "delete"}

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one object: `update`, `scale`, `create` or `delete`, and the values concerned by JSON pointer, before and after."""

    kind: str
    namespace: str
    name: str
    type: str
    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """One line for people."""
        place = f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"
        paths = sorted(self.before.keys() | self.after.keys())
        told = [f"{path}: {self.before.get(path, '(none)')} → {self.after.get(path, '(none)')}" for path in paths[:3]]
        more = f" and {len(paths) - len(told)} more" if len(paths) > len(told) else ""
        return f"{self.type} {place}" + (f": {'; '.join(told)}{more}" if told else "")


def change_of(operation: Operation) -> Change:
    """Say what an operation changes; values of a Secret are never shown, long ones are cut, and so are long lists."""
    request = operation.do
    written = dict(_written(request))
    before = _former(request, operation.undo, set(written) | _removed(request)) if request.verb == "patch" else {}
    if request.verb in {"delete", "evict"}:
        written = {}
    hidden = request.kind == "Secret"
    return Change(
        request.kind,
        request.namespace or "",
        request.name,
        _type(request, set(written)),
        _texts(before, hidden=hidden),
        _texts(written, hidden=hidden),
    )


def _type(request: OperationRequest, paths: set[str]) -> str:
    scales = request.verb == "patch" and bool(paths) and all(path == "/spec/replicas" for path in paths)
    return "scale" if scales else _DONE_TO[request.verb]


def _written(request: OperationRequest) -> Iterator[tuple[str, Any]]:
    """Path and value of whatever a request writes."""
    if isinstance(request.body, list):
        for entry in request.body:
            if entry.get("op") in {"add", "replace"}:
                yield str(entry.get("path")), entry.get("value")
    elif request.body is not None:
        own = {key: value for key, value in request.body.items() if key not in {"apiVersion", "kind", "status"}}
        if isinstance(own.get("metadata"), dict):
            own["metadata"] = {key: value for key, value in own["metadata"].items() if key not in _OF_THE_SERVER}
        yield from _leaves("", own)


def _removed(request: OperationRequest) -> set[str]:
    entries = request.body if isinstance(request.body, list) else []
    return {str(entry.get("path")) for entry in entries if entry.get("op") == "remove"}


def _former(request: OperationRequest, undo: OperationRequest | None, paths: set[str]) -> dict[str, Any]:
    """The values at these paths before: as the request tests them, else as its way back would write them."""
    entries = request.body if isinstance(request.body, list) else []
    tested = {str(entry.get("path")): entry.get("value") for entry in entries if entry.get("op") == "test"}
    restored = dict(_written(undo)) if undo is not None and undo.verb == "patch" else {}
    return {path: {**restored, **tested}[path] for path in paths if path in tested or path in restored}


def _leaves(path: str, value: object) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(f"{path}/{str(key).replace('~', '~0').replace('/', '~1')}", inner)
    elif path and value != {}:
        yield path, value


def _texts(values: Json, *, hidden: bool) -> dict[str, str]:
    return {path: _HIDDEN if hidden else _text(values[path]) for path in sorted(values)[:_MOST]}


def _text(value: object) -> str:
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True))[:_LONGEST]
