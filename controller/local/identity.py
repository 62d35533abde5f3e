"""Who is who on the local control plane: users, their tokens and kubeconfigs, and the key that signs ServiceAccount tokens."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_SERVICE_ACCOUNTS = ("system:serviceaccounts", "system:serviceaccounts:kubernaut-system", "system:authenticated")


@dataclass(frozen=True, slots=True)
class User:
    """A user that the API server knows by token, and the ClusterRoles that it is bound to (those of people only)."""

    name: str
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


USERS: Mapping[str, User] = {
    "admin": User("admin", ("system:masters",)),
    "author": User("author", (), ("workflow-author", "view")),
    "approver": User("approver", ("on-call",), ("workflow-approver", "view")),
    "viewer": User("viewer", (), ("workflow-viewer", "view")),
    # The controller is its own ServiceAccount: it has the shipped rights and no others.
    "controller": User("system:serviceaccount:kubernaut-system:workflow-controller", _SERVICE_ACCOUNTS),
    "kube-controller-manager": User("system:kube-controller-manager"),
    "kube-scheduler": User("system:kube-scheduler"),
    "kwok": User("kwok", ("system:masters",)),
}
PEOPLE = ("admin", "author", "approver", "viewer")


def new_tokens() -> dict[str, str]:
    """A token for each user."""
    return {name: secrets.token_urlsafe(24) for name in USERS}


def token_file(tokens: Mapping[str, str]) -> str:
    """What kube-apiserver reads as --token-auth-file."""
    rows = ((tokens[name], user.name, name, ",".join(user.groups)) for name, user in USERS.items())
    return "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in rows)


def kubeconfig(server: str, authority: bytes, name: str, token: str) -> str:
    """A kubeconfig (JSON is YAML) for one user."""
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(authority).decode()}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "phasegate", "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": "phasegate", "user": name, "namespace": "default"}}],
        "current-context": name,
    }
    return json.dumps(document, indent=2) + "\n"


def new_signing_key() -> str:
    """A P-256 key in PEM. SEC 1 leaves the public half optional, which makes the private half a number behind fixed bytes."""
    number = secrets.randbelow(_P256_ORDER - 1) + 1
    encoded = bytes.fromhex("30310201010420") + number.to_bytes(32, "big") + bytes.fromhex("a00a06082a8648ce3d030107")
    lines = base64.encodebytes(encoded).decode()
    return f"-----BEGIN EC PRIVATE KEY-----\n{lines}-----END EC PRIVATE KEY-----\n"


def bindings() -> list[dict[str, object]]:
    """ClusterRoleBindings of the people to the roles that deploy/ ships for them."""
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"phasegate-local-{name}-{role}"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user.name}],
        }
        for name, user in USERS.items()
        for role in user.roles
    ]


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.touch(mode=0o600)
    part.write_text(text)
    part.replace(path)
