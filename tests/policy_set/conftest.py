"""Small policies of our own in place of the shipped ones."""

from __future__ import annotations

from pathlib import Path

import pytest

GATE = """package kubernaut.gates.dispatch

default verdict := {"decision": "deny"}

verdict := {"decision": "allow", "max_parallel": min(_limits)}

_limits contains data.kubernaut.settings["max-parallel-steps"]

_limits contains n if {
	some name
	some n in data.kubernaut.rules.dispatch[name].limit
}
"""
ACTION = """package kubernaut.actions.scale_deployment

permissions := []
"""


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A folder laid out like policies/."""
    folder = tmp_path / "policies"
    for path, text in {
        "gates/dispatch.rego": GATE,
        "actions/scale_deployment.rego": ACTION,
        "tests/gates/dispatch_test.rego": "package kubernaut.gates.dispatch_test\n",
        "gates/odd_test.rego": "package kubernaut.gates.odd_test\n",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder
