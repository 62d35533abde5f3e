"""One controller for all commands, a namespace for each test, and the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import Phasegate
from support.controller import ControllerProcess
from support.policy_files import PolicyCommand
from support.workflows import FAST

from controller.local.plane import Plane


@pytest.fixture(scope="module")
def controller(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControllerProcess]:
    """Ended with its module: other tests of the session start controllers of their own on the same plane."""
    process = ControllerProcess(plane, tmp_path_factory.mktemp("controller") / "controller.log", FAST)
    process.start()
    yield process
    process.kill()


@pytest.fixture
def phasegate(plane: Plane) -> Phasegate:
    return Phasegate(plane)


@pytest.fixture
def say(opa: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PolicyCommand:
    """`phasegate policy`, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return PolicyCommand(opa, capsys)
