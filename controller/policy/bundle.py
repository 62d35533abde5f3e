"""From a policy set to the one file that OPA loads. Pure: the same set gives the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from controller.policy.sources import Module, PolicySet

_REVISION_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Bundle:
    """What OPA is given, and the name of its content."""

    revision: str
    content: bytes


def build_data(policy_set: PolicySet) -> dict[str, Any]:
    """``data.kubernaut`` apart from the rules: settings, digests of the action modules, references, the teams' data."""
    return {
        "settings": dict(policy_set.settings),
        "modules": {"actions": _action_digests(policy_set.modules)},
        "references": {
            f"{module.source}:{module.key}": name for module in policy_set.modules if (name := _name_below(module, "kubernaut.conditions."))
        },
        "teams": {name: dict(data) for name, data in policy_set.data.items()},
    }


def build_bundle(policy_set: PolicySet) -> Bundle:
    """Build the bundle; its revision is a digest of the modules and the data."""
    data = json.dumps({"kubernaut": build_data(policy_set)}, sort_keys=True).encode()
    modules = sorted(policy_set.modules, key=lambda m: m.path)
    digest = hashlib.sha256()
    for part in (data, *(part.encode() for m in modules for part in (m.path, m.text))):
        # Lengths keep two neighbours from passing for one: "ab" + "c" is not "a" + "bc".
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    revision = digest.hexdigest()[:_REVISION_LENGTH]
    manifest = {"revision": revision, "roots": ["kubernaut"], "rego_version": 1}
    files = [
        (".manifest", json.dumps(manifest, sort_keys=True).encode()),
        ("data.json", data),
        *((m.path, m.text.encode()) for m in modules),
    ]
    return Bundle(revision, _packed(files))


def _action_digests(modules: Iterable[Module]) -> dict[str, str]:
    texts: dict[str, list[str]] = {}
    for module in sorted(modules, key=lambda m: m.path):
        name = _name_below(module, "kubernaut.actions.")
        if name:
            texts.setdefault(name, []).append(module.text)
    return {name: hashlib.sha256("\0".join(parts).encode()).hexdigest() for name, parts in texts.items()}


def _name_below(module: Module, prefix: str) -> str:
    name = module.package.removeprefix(prefix)
    return name if name != module.package and "." not in name else ""


def _packed(files: Iterable[tuple[str, bytes]]) -> bytes:
    raw = io.BytesIO()
    # No modification times anywhere, so that the bytes depend on the content alone.
    with (
        gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(content))
    return raw.getvalue()
