"""Controllers that start at once: one process imports the program, and each controller is a fork of it.

A test that kills a controller a hundred times must not pay a hundred times for imports. What runs in the fork is the real program,
and SIGKILL is the real signal. Talk to the server by lines of JSON: options in, process id out.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from controller.local.plane import Plane
from controller.paths import ROOT


class ForkServer:
    """Starts controllers against one control plane."""

    def __init__(self, plane: Plane, opa_binary: Path, log: Path) -> None:
        self._plane = plane
        self._opa_binary = opa_binary
        self._log = log
        found = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
        environment = {**os.environ, "MONITORING_STABILITY": "0s", "KUBERNETES_QPS": "0", "PYTHONPATH": found}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "support.forking"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def start(self, kubeconfig: Path) -> int:
        """Start a controller that talks to the API server by ``kubeconfig``; answers its process id at once."""
        plane = self._plane
        options = {
            "kubeconfig": str(kubeconfig),
            "opa": plane.opa,
            "bundle_addr": plane.bundle,
            "health_addr": plane.health,
            "metrics_addr": plane.metrics,
            "opa_program": str(self._opa_binary),
            "log": str(self._log),
        }
        return int(self._ask(options))

    def kill(self, pid: int) -> None:
        """SIGKILL, and wait until it is gone."""
        self._ask({"kill": pid})

    def close(self) -> None:
        """End the server; its controllers must be gone."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(10)
        assert self._server.stdout is not None
        self._server.stdout.close()

    def _ask(self, line: dict[str, Any]) -> str:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(line) + "\n")
        self._server.stdin.flush()
        return self._server.stdout.readline()


def _serve() -> None:
    from controller.run import Options, run  # noqa: PLC0415 - the import is what the forks share

    for line in sys.stdin:
        order = json.loads(line)
        if "kill" in order:
            os.kill(order["kill"], signal.SIGKILL)
            os.waitpid(order["kill"], 0)
            sys.stdout.write("gone\n")
            sys.stdout.flush()
            continue
        log = order.pop("log")
        pid = os.fork()
        if pid == 0:
            _run(run, Options, order, log)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _run(run: Any, options: Any, order: dict[str, Any], log: str) -> None:
    from controller.observe.logs import start_logging  # noqa: PLC0415

    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(0)
    start_logging("text")
    paths = {"kubeconfig", "opa_program"}
    code = asyncio.run(run(options(**{key: Path(value) if key in paths else value for key, value in order.items()})))
    os._exit(code)


if __name__ == "__main__":
    _serve()
