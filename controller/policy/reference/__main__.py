"""The command line of the reference, and the list of its pages."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from controller import paths
from controller.generated import GeneratedFiles
from controller.policy import syntax
from controller.policy.reference.actions import render_actions
from controller.policy.reference.gates import render_gates
from controller.policy.reference.reading import UndescribedError, read_actions, read_modules
from controller.policy.reference.reasons import condition_reasons, find_reasons, render_reasons
from controller.policy.reference.settings import render_settings

FOLDER = paths.ROOT / "docs" / "reference"


def render(opa: Path, policies: Path = paths.POLICIES) -> dict[str, str]:
    """File name → content of what is generated below docs/reference/.

    Raises:
        UndescribedError, ParseError: something that it is made from cannot be read, or is not described.
    """
    modules, actions = read_modules(opa, policies), read_actions(opa, policies)
    crds = {}
    for file in sorted(paths.CRDS.glob("*.yaml")):
        spec = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]
        crds[spec["names"]["kind"]] = spec["versions"][0]["schema"]["openAPIV3Schema"]
    schemas = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(paths.SCHEMAS.glob("*.json"))}
    reasons = [*find_reasons(modules), *condition_reasons(actions)]
    return {
        "gates.md": render_gates(modules, schemas, crds, reasons),
        "reasons.md": render_reasons(reasons),
        "actions.md": render_actions(actions, modules, crds["WorkflowExecution"]),
        "settings.md": render_settings(modules),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done or nothing to do, 1 a check failed, 2 the reference cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m controller.policy.reference", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--opa", type=Path, default=Path("opa"), help="the opa program (default: the one on the PATH)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if docs/reference/ is not up to date")
    parser.add_argument("--policies", type=Path, default=paths.POLICIES)
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    try:
        rendered = render(options.opa, options.policies)
    except (UndescribedError, syntax.ParseError) as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    generated = GeneratedFiles(options.out, tuple(rendered), "policies/, schemas/ or crds/")
    return generated.bring(rendered, check=options.check)


if __name__ == "__main__":
    sys.exit(main())
