"""Where the files beside the package lie: the program runs from its checkout, and everything it applies is read from there."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

CONFIGMAPS = ROOT / "configmaps"
CRDS = ROOT / "crds"
DEPLOY = ROOT / "deploy"
POLICIES = ROOT / "policies"
SCHEMAS = ROOT / "schemas"
TOOLS = ROOT / "tools"
