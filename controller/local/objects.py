"""What the local control plane is filled with: crds/, deploy/ and configmaps/ as they are, the people's bindings, simulated nodes."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from controller import paths
from controller.local import identity
from controller.local.api import Api
from controller.local.commands import SIMULATED
from controller.local.errors import LocalError
from controller.local.folder import Folder

_OVERLAY = paths.DEPLOY / "overlays" / "local"
_KUBECTL_TAKES_AT_MOST = 120
_ZONES = "abc"


def digest() -> str:
    """Changes whenever a file that is applied does."""
    total = hashlib.sha256(json.dumps(identity.bindings()).encode())
    for file in _files():
        total.update(f"{file.relative_to(paths.ROOT)}\0".encode() + file.read_bytes())
    return total.hexdigest()


def apply(kubectl: Path, folder: Folder) -> None:
    """Server-side apply of everything, in one go: the namespace comes before what lies in it."""
    kustomized = _run(kubectl, folder, ["kustomize", str(_OVERLAY)], "render deploy/overlays/local")
    plain = [file.read_text() for file in _yaml_files(paths.CRDS)]
    config_maps = [file.read_text() for file in _yaml_files(paths.CONFIGMAPS)]
    bindings = [json.dumps(binding) for binding in identity.bindings()]
    manifests = "\n---\n".join([*plain, kustomized, *config_maps, *bindings])
    flags = ["--server-side", "--force-conflicts", "--field-manager=phasegate-local", "-f", "-"]
    _run(kubectl, folder, ["apply", *flags], "apply crds/, deploy/overlays/local and configmaps/", manifests)


def are_established(api: Api) -> bool:
    """Whether the API server serves every custom kind that it was given."""
    answer = api.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    items = answer.document.get("items", []) if answer.status == HTTPStatus.OK else []
    return bool(items) and all(_holds(item, "Established") for item in items)


def create_nodes(api: Api, count: int) -> None:
    """Simulated nodes 0 to count - 1; those that are there stay as they are."""
    for number in range(count):
        answer = api.post("/api/v1/nodes", _node(number))
        if answer.status not in {HTTPStatus.CREATED, HTTPStatus.CONFLICT}:
            raise LocalError(f"create node {_node_name(number)}: {answer.status} {answer.body.decode(errors='replace')[:300]}")


def are_nodes_ready(api: Api, count: int) -> bool:
    """Whether pods could be placed: the nodes are ready, and the controller-manager has noticed (it takes the first taint away)."""
    answer = api.get("/api/v1/nodes")
    nodes = {node["metadata"]["name"]: node for node in answer.document.get("items", [])} if answer.status == HTTPStatus.OK else {}
    return all(_is_usable(nodes.get(_node_name(number))) for number in range(count))


def _is_usable(node: dict[str, Any] | None) -> bool:
    if node is None or not _holds(node, "Ready"):
        return False
    return not any(taint["key"] == "node.kubernetes.io/not-ready" for taint in node.get("spec", {}).get("taints", []))


def _holds(item: dict[str, Any], condition: str) -> bool:
    conditions = item.get("status", {}).get("conditions") or []
    return any(one["type"] == condition and one["status"] == "True" for one in conditions)


def _node_name(number: int) -> str:
    return f"node-{number}"


def _node(number: int) -> dict[str, Any]:
    capacity = {"cpu": "32", "memory": "256Gi", "pods": "110", "ephemeral-storage": "500Gi"}
    labels = {
        "beta.kubernetes.io/arch": "amd64",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": _node_name(number),
        "node.kubernetes.io/instance-type": "simulated.8xlarge",
        "topology.kubernetes.io/region": "local",
        "topology.kubernetes.io/zone": f"local-{_ZONES[number % len(_ZONES)]}",
        "type": "kwok",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": _node_name(number), "labels": labels, "annotations": {SIMULATED: "fake"}},
        "spec": {"providerID": f"kwok://local/{_node_name(number)}"},
        "status": {"capacity": capacity, "allocatable": capacity},
    }


def _files() -> Iterator[Path]:
    for folder in (paths.CRDS, paths.DEPLOY, paths.CONFIGMAPS):
        yield from _yaml_files(folder, "**/*")


def _yaml_files(folder: Path, pattern: str = "*.yaml") -> list[Path]:
    files = sorted(file for file in folder.glob(pattern) if file.is_file())
    if not files:
        raise LocalError(f"there is nothing in {folder} to apply; restore it from the repository, or run `make generate`")
    return files


def _run(kubectl: Path, folder: Folder, arguments: list[str], what: str, manifests: str = "") -> str:
    command = [str(kubectl), f"--kubeconfig={folder.kubeconfig('admin')}", f"--cache-dir={folder.kubectl_cache}", *arguments]
    try:
        done = subprocess.run(
            command, input=manifests, capture_output=True, text=True, timeout=_KUBECTL_TAKES_AT_MOST, check=False, encoding="utf-8"
        )
    except subprocess.TimeoutExpired as exc:
        raise LocalError(f"to {what} took more than {_KUBECTL_TAKES_AT_MOST} s; see the logs in {folder.logs}") from exc
    if done.returncode != 0:
        raise LocalError(f"could not {what}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
