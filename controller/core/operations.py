"""What an operation may be, and whether it has happened: pure judgements on one rendered request and one live object.

Two questions are answered here. `forbidden`: may a request of this shape be sent at all, whatever policy said? And `look`: after an
ambiguous answer, is the new state there, is the old one still there, or neither (protocol.md)?
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from controller.core.names import ATTEMPT_ANNOTATION
from controller.core.verdict import Operation, OperationRequest

_NAMESPACED = {
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "ReplicaSet"),
    ("v1", "Pod"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("v1", "PersistentVolumeClaim"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("networking.k8s.io/v1", "Ingress"),
}
_CLUSTER_SCOPED = {("v1", "Node")}
_SUBRESOURCES = {("Pod", "eviction"), ("Deployment", "scale"), ("StatefulSet", "scale")}
# A name becomes a part of a URL, where `..` would be the namespace itself, and `.` or nothing the whole collection.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_TOKEN_TYPE = "kubernetes.io/service-account-token"  # noqa: S105 - a type of Secret, not a secret

Json = Mapping[str, Any]
_ABSENT = object()


class Sight(StrEnum):
    """What a look at the target found."""

    APPLIED = "applied"
    NOT_APPLIED = "not_applied"
    CHANGED = "changed"


def forbidden(request: OperationRequest) -> str:
    """Say why a rendered request must not be sent, or nothing if it may.

    This is the bound that no policy can widen: no kind outside the list (so no RBAC, admission, or custom resources of ours), no
    subresource but eviction and scale, cluster-scoped kinds only where listed, nothing but the one object that the request names, no
    token of a ServiceAccount.
    """
    fault = _misplaced(request) or _incomplete(request)
    return fault and f"{request.verb} {request.kind} {request.namespace or ''}/{request.name}: {fault}"


def forbidden_among(operations: Iterable[Operation]) -> str:
    """Say why one of these operations, or its way back, must not be sent; a way back that could never be gone would be none."""
    requests = (request for operation in operations for request in (operation.do, operation.undo) if request is not None)
    return next((fault for request in requests if (fault := forbidden(request))), "")


def _misplaced(request: OperationRequest) -> str:
    """What is wrong with the place that a request is sent to."""
    target = (request.apiVersion, request.kind)
    if target in _CLUSTER_SCOPED:
        if request.namespace:
            return f"{request.kind} is cluster-scoped and takes no namespace"
    elif target not in _NAMESPACED:
        return f"kind {request.apiVersion} {request.kind} is not among the kinds that operations may touch"
    elif not request.namespace:
        return "a namespace is missing"
    if not all(_NAME.fullmatch(name) for name in (request.name, request.namespace or "none")):
        return "namespace and name must be names that objects can have"
    if request.subresource and (request.kind, request.subresource) not in _SUBRESOURCES:
        return f"subresource {request.subresource!r} is not among those that operations may touch"
    return ""


def _incomplete(request: OperationRequest) -> str:
    """What is wrong with the content of a request."""
    if request.verb == "patch" and (request.patchType is None or request.body is None):
        return "a patch needs patchType and body"
    if request.verb in {"delete", "evict"} and not request.uid:
        return "a deletion needs the uid of the object it means"
    if request.verb in {"create", "job"} and not _creates_its_own(request):
        return "a creation needs the object that it names as body"
    if request.kind == "Secret" and isinstance(request.body, dict) and request.body.get("type") == _TOKEN_TYPE:
        return "a Secret of this type would hold a token of a ServiceAccount"
    return ""


def _creates_its_own(request: OperationRequest) -> bool:
    """Tell whether the body of a creation is the object that the request, and so every later look at it, names."""
    metadata = request.body.get("metadata") if isinstance(request.body, dict) else None
    if not isinstance(metadata, dict):
        return False
    return bool(metadata.get("name") == request.name and metadata.get("namespace", request.namespace) == request.namespace)


def look(request: OperationRequest, live: Json | None, attempt_uid: str) -> Sight:
    """Judge from the live object whether a request that was sent, or not, has been carried out.

    Args:
        request: the recorded operation.
        live: the target as the API server has it now; None if there is none.
        attempt_uid: uid of the KubernetesExecution; its creations are marked with it.
    """
    match request.verb:
        case "create" | "job":
            return _look_created(live, attempt_uid)
        case "delete" | "evict":
            return _look_deleted(live, request.uid)
        case "patch":
            return _look_patched(request, live)


def _look_created(live: Json | None, attempt_uid: str) -> Sight:
    if live is None:
        return Sight.NOT_APPLIED
    mark = (live["metadata"].get("annotations") or {}).get(ATTEMPT_ANNOTATION)
    return Sight.APPLIED if mark == attempt_uid else Sight.CHANGED


def _look_deleted(live: Json | None, uid: str | None) -> Sight:
    if live is None or live["metadata"]["uid"] != uid or live["metadata"].get("deletionTimestamp"):
        return Sight.APPLIED
    return Sight.NOT_APPLIED


def _look_patched(request: OperationRequest, live: Json | None) -> Sight:
    if live is None:
        return Sight.CHANGED
    if isinstance(request.body, list):
        return _look_json_patched(request.body, live)
    body = request.body or {}
    wanted = {key: value for key, value in body.items() if key != "metadata"}
    guard = dict(body.get("metadata") or {})
    uid, version = guard.pop("uid", None), guard.pop("resourceVersion", None)
    if uid is not None and live["metadata"]["uid"] != uid:
        return Sight.CHANGED
    if guard:
        wanted["metadata"] = guard
    if _contains(live, wanted):
        return Sight.APPLIED
    return Sight.NOT_APPLIED if version is not None and live["metadata"]["resourceVersion"] == version else Sight.CHANGED


def _look_json_patched(patch: Sequence[Json], live: Json) -> Sight:
    uid_tests = [entry for entry in patch if entry["op"] == "test" and entry["path"] == "/metadata/uid"]
    if any(_at(live, entry["path"]) != entry["value"] for entry in uid_tests):
        return Sight.CHANGED
    untouched = all(_at(live, entry["path"]) == entry["value"] for entry in patch if entry["op"] == "test")
    wanted = [entry for entry in patch if entry["op"] != "test"]
    # A last item that is equal to an appended one may have been there before; then nothing else has moved on either.
    there_before = untouched and any(entry["path"].endswith("/-") for entry in wanted)
    if not there_before and all(_done(entry, live) for entry in wanted):
        return Sight.APPLIED
    return Sight.NOT_APPLIED if untouched else Sight.CHANGED


def _done(entry: Json, live: Json) -> bool:
    path = str(entry["path"])
    if entry["op"] not in {"add", "replace", "remove"}:
        # Of a value that was moved or copied nobody can tell whether it was there before.
        return False
    if path.endswith("/-"):
        values = _at(live, path.removesuffix("/-"))
        return isinstance(values, list) and bool(values) and _contains(values[-1], entry["value"])
    found = _at(live, path)
    if entry["op"] == "remove":
        return found is _ABSENT
    return found is not _ABSENT and _contains(found, entry["value"])


def _at(document: object, pointer: str) -> Any:  # noqa: ANN401 - a JSON value
    """Follow a JSON pointer; `_ABSENT` where it leads nowhere."""
    at = document
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(at, Mapping) and key in at:
            at = at[key]
        elif isinstance(at, list) and key.isdigit() and int(key) < len(at):
            at = at[int(key)]
        else:
            return _ABSENT
    return at


def _contains(live: object, wanted: object) -> bool:
    """Tell whether everything wanted is there; null means absent, and items of a list are matched by `name` where they have one."""
    if isinstance(wanted, Mapping):
        if not isinstance(live, Mapping):
            return False
        return all(live.get(key) is None if value is None else key in live and _contains(live[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        if not isinstance(live, list):
            return False
        if wanted and all(isinstance(item, Mapping) and "name" in item for item in wanted):
            by_name = {item.get("name"): item for item in live if isinstance(item, Mapping)}
            return all(item["name"] in by_name and _contains(by_name[item["name"]], item) for item in wanted)
        return len(live) == len(wanted) and all(_contains(a, b) for a, b in zip(live, wanted, strict=True))
    return bool(live == wanted)


def without_value_tests(request: OperationRequest) -> OperationRequest:
    """Make an undo that policy allows to overwrite a foreign change: only the object's identity is still tested."""
    if not isinstance(request.body, list):
        return request
    kept = [entry for entry in request.body if entry["op"] != "test" or entry["path"] == "/metadata/uid"]
    return request.model_copy(update={"body": kept})
