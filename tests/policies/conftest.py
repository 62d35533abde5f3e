"""The pinned programs that judge policies."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.local import programs


@pytest.fixture(scope="session")
def regal() -> Path:
    return programs.provide("regal")["regal"]
