"""docs/write-a-policy.md, command by command, on a control plane that the page itself brings up."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.pages import follow

from controller.local import plane
from controller.paths import ROOT


@pytest.mark.timeout(300)
def test_every_command_of_the_page_does_what_the_page_says(tmp_path: Path) -> None:
    try:
        follow(ROOT / "docs" / "write-a-policy.md", tmp_path)
    finally:
        plane.down(tmp_path / ".local", purge=True)
