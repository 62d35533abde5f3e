"""Renders policies/ into configmaps/: one ConfigMap per package, plus the settings with their defaults.

`python -m controller.policy.render` writes; with `--check` it writes nothing and exits 1 if anything would change. configmaps/ is
never edited by hand; an output whose source is gone is removed.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from controller import paths
from controller.generated import GeneratedFiles
from controller.policy import sources
from controller.settings import SETTINGS_CONFIG_MAP, SYSTEM_NAMESPACE, Settings

DIGEST_ANNOTATION = "kubernaut.ai/policy-digest"
_HEADER = "# Rendered from {origin} by `make generate`; do not edit.\n"


class _Block(str):
    """Text that is written as a YAML block, so that a diff of a rendered policy reads like a diff of the policy."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Safe YAML that knows blocks."""


_Dumper.add_representer(_Block, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|"))


def render(policies: Path) -> dict[str, str]:
    """File name → content of everything that belongs into configmaps/."""
    rendered = {f"{SETTINGS_CONFIG_MAP}.yaml": _render_settings()}
    for module in sources.read_shipped(policies).modules:
        document = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": module.source,
                "namespace": SYSTEM_NAMESPACE,
                "labels": {sources.POLICY_LABEL: sources.POLICY_LABEL_VALUE},
                "annotations": {DIGEST_ANNOTATION: "sha256:" + hashlib.sha256(module.text.encode()).hexdigest()},
            },
            # YAML cannot hold a tab or trailing space in a block; opa fmt leaves tabs for indentation, which it can.
            "data": {module.key: _Block(module.text)},
        }
        header = _HEADER.format(origin=f"package {module.package} below policies/")
        rendered[f"{module.source}.yaml"] = header + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=4096)
    return rendered


def files(folder: Path = paths.CONFIGMAPS) -> GeneratedFiles:
    """What is generated of the folder: every ConfigMap of ours."""
    return GeneratedFiles(folder, ("kubernaut-*.yaml",), "policies/")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done or nothing to do, 1 a check failed, 2 the policies cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m controller.policy.render", description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if configmaps/ is not up to date")
    parser.add_argument("--policies", type=Path, default=paths.POLICIES)
    parser.add_argument("--out", type=Path, default=paths.CONFIGMAPS)
    options = parser.parse_args(arguments)
    try:
        rendered = render(options.policies)
    except (OSError, ValueError) as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    return files(options.out).bring(rendered, check=options.check)


def _render_settings() -> str:
    """The defaults, each with a line that says what is allowed."""
    lines = [
        _HEADER.format(origin="controller/settings.py").rstrip(),
        "# Change values in an overlay, or in the cluster; environment variables (MAX_PARALLEL_STEPS …) win over them.",
        "apiVersion: v1",
        "kind: ConfigMap",
        "metadata:",
        f"  name: {SETTINGS_CONFIG_MAP}",
        f"  namespace: {SYSTEM_NAMESPACE}",
        "data:",
    ]
    document = Settings().document()
    for name, field in Settings.model_fields.items():
        key = name.replace("_", "-")
        value = document[key]
        text = ",".join(value) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)
        lines += [f"  # {field.description}", f'  {key}: "{text}"']
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
