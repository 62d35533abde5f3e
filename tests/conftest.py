"""The control plane that all tests share: started when the first one asks for it, ended with the session."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from controller.local import plane as local
from controller.local import programs
from controller.local.api import Api

Kubectl = Callable[..., str]


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.Plane]:
    """A whole control plane but for the controller. Programs that are missing are built, which takes minutes once."""
    state = tmp_path_factory.mktemp("plane") / "state"
    try:
        yield local.up(state, controller=False)
    finally:
        local.down(state, purge=True)


@pytest.fixture(scope="session")
def admin(plane: local.Plane) -> Api:
    """Plain requests to the API server as the administrator."""
    folder = local.Folder(plane.state)
    record = folder.read()
    assert record is not None
    return Api(plane.server, record.tokens["admin"], folder.authority)


@pytest.fixture(scope="session")
def kubectl(plane: local.Plane) -> Kubectl:
    """``kubectl("get", "pods", user="viewer")``; fails the test with what kubectl said, or answers its output."""
    program = programs.provide("kubectl")["kubectl"]

    def run(*arguments: str, user: str = "admin", manifest: str | None = None, expect: int = 0) -> str:
        command = [str(program), f"--kubeconfig={plane.users[user]}", f"--cache-dir={plane.state / 'kubectl-cache'}", *arguments]
        done = subprocess.run(command, input=manifest, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == expect, f"kubectl {' '.join(arguments)} as {user}: {done.stdout}{done.stderr}"
        return done.stdout if expect == 0 else done.stdout + done.stderr

    return run
