"""A controller of one's own against a local control plane: started, killed at any moment, started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

from controller.local import programs
from controller.local.api import Api
from controller.local.plane import Plane

_PATIENCE = 120.0
# Who was started last at an address, which one controller of a plane can have at a time.
_LATEST: dict[str, ControllerProcess] = {}


class ControllerProcess:
    """`phasegate run` as a child of the test; its log stays readable after its death.

    Whoever starts ends another one at the same addresses: its answers would be taken for those of the new one, which could not listen.
    """

    def __init__(self, plane: Plane, log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.plane = plane
        self.log = log
        self.environment = {**os.environ, "PHASEGATE_AUDIT_DIR": str(log.with_suffix(".audit")), **(environment or {})}
        self.flags: tuple[str, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Its process id, while it runs."""
        return self._process.pid if self._process is not None and self.is_running else None

    def start(self, *flags: str, kubeconfig: Path | None = None, environment: dict[str, str] | None = None, wait: bool = True) -> None:
        """Start it with further flags; ``kubeconfig`` may lead through a proxy, ``wait`` waits until it is ready."""
        assert not self.is_running, "a controller runs already: kill() or stop() it first"
        former = _LATEST.get(self.plane.health)
        if former is not None:
            former.kill()
        _LATEST[self.plane.health] = self
        self.flags = flags
        command = [sys.executable, "-m", "controller", "run"]
        command += [f"--kubeconfig={kubeconfig or self.plane.controller_kubeconfig}", f"--opa={self.plane.opa}"]
        command += [f"--opa-binary={programs.provide('opa')['opa']}", f"--bundle-addr={self.plane.bundle}"]
        command += [f"--health-addr={self.plane.health}", f"--metrics-addr={self.plane.metrics}", *flags]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**self.environment, **(environment or {})}
            )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until it says that it can do its work."""
        deadline = time.monotonic() + _PATIENCE
        health = Api(f"http://{self.plane.health}")
        while (answer := health.get("/readyz")).status != HTTPStatus.OK:
            assert self.is_running, f"the controller ended:\n{self.log_tail()}"
            assert time.monotonic() < deadline, f"not ready: {answer.body.decode()}\n{self.log_tail()}"
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; answers the exit code."""
        return self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Kill it and start it as it was."""
        self.kill()
        self.start(*self.flags)

    def log_tail(self, lines: int = 40) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        try:
            code = self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        self._process = None
        return code
