"""Where the files beside the package lie: the program runs from its checkout, and everything it applies is read from there."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

CONFIGMAPS = ROOT / "configmaps"
CRDS = ROOT / "crds"
DEPLOY = ROOT / "deploy"
POLICIES = ROOT / "policies"
SCHEMAS = ROOT / "schemas"
TOOLS = ROOT / "tools"


def audit_folder() -> Path:
    """Where the controller keeps its audit store, unless it is told: `$PHASEGATE_AUDIT_DIR`, else in the user's state folder."""
    state = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    return Path(os.environ.get("PHASEGATE_AUDIT_DIR") or Path(state) / "phasegate")
