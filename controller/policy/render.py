"""Renders policies as ConfigMaps: policies/ into configmaps/, and (`render_config_map`) what a team has into one of its own.

configmaps/ has one ConfigMap per package, plus the settings with their defaults.

`python -m controller.policy.render` writes; with `--check` it writes nothing and exits 1 if anything would change. configmaps/ is
never edited by hand; an output whose source is gone is removed.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from controller import paths
from controller.generated import GeneratedFiles
from controller.policy import sources
from controller.settings import SETTINGS_CONFIG_MAP, SYSTEM_NAMESPACE, Settings

DIGEST_ANNOTATION = "kubernaut.ai/policy-digest"
_HEADER = "# Rendered from {origin} by `make generate`; do not edit.\n"


_INDENT = "    "
# What a YAML block can hold and every reader gives back: no control characters, no other line breaks, no byte order mark.
_BLOCK = re.compile(r"[\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]*\n?")


def render_config_map(name: str, data: Mapping[str, str], *, header: str, annotations: Mapping[str, str] | None = None) -> str:
    """The YAML of a ConfigMap that is a policy source: texts as blocks, so that a diff of it reads like a diff of the policy.

    Args:
        name: of the ConfigMap.
        data: its keys, which are plain in YAML (they end in .rego, .json or .yaml), and their texts.
        header: a comment at the top.
        annotations: of the ConfigMap.
    """
    metadata = {"name": name, "namespace": SYSTEM_NAMESPACE, "labels": {sources.POLICY_LABEL: sources.POLICY_LABEL_VALUE}}
    head = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {**metadata, "annotations": dict(annotations)} if annotations else metadata,
    }
    return header + yaml.safe_dump(head, sort_keys=False, width=4096) + "data:\n" + "".join(_entry(key, data[key]) for key in sorted(data))


def _entry(key: str, text: str) -> str:
    """One key of a ConfigMap. PyYAML would quote a text with tabs; blocks hold them, as long as the indentation is spaces."""
    lines = text.split("\n")
    if not text.strip("\n") or not _BLOCK.fullmatch(text):
        quoted: str = yaml.safe_dump(text, default_style='"', width=1 << 30)
        return f"  {key}: {quoted}"
    # Said, not guessed by the reader, where the text begins with what looks like indentation.
    indicator = "2" if lines[0][:1] in {"", " ", "\t"} else ""
    chomping = "-" if lines[-1] else "+" if not lines[-2] else ""
    body = "".join(f"{_INDENT}{line}\n" if line else "\n" for line in (lines if lines[-1] else lines[:-1]))
    return f"  {key}: |{indicator}{chomping}\n{body}"


def render(policies: Path) -> dict[str, str]:
    """File name → content of everything that belongs into configmaps/."""
    rendered = {f"{SETTINGS_CONFIG_MAP}.yaml": _render_settings()}
    for module in sources.read_shipped(policies).modules:
        digest = "sha256:" + hashlib.sha256(module.text.encode()).hexdigest()
        rendered[f"{module.source}.yaml"] = render_config_map(
            module.source,
            {module.key: module.text},
            header=_HEADER.format(origin=f"package {module.package} below policies/"),
            annotations={DIGEST_ANNOTATION: digest},
        )
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
    texts = Settings().texts()
    for name, field in Settings.model_fields.items():
        key = name.replace("_", "-")
        lines += [f"  # {field.description}", f'  {key}: "{texts[key]}"']
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
