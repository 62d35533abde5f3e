"""Decisions, workflows and attempts to keep, what a controller has kept, and a PostgreSQL server where this machine has one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from controller.core.verdict import VERDICTS
from controller.gates.client import Decided
from support.controller import ControllerProcess

NOW = "2026-11-21T10:00:00.000Z"


def decided(decision_id: str = "d1", *, gate: str = "completion", now: str = NOW, question: Mapping[str, Any] | None = None) -> Decided:
    """A decision as the gates' client tells of it: allow, without reasons."""
    asked = {
        "contract": "v1",
        "gate": gate,
        "facts": {},
        "step": {"stepNumber": 3},
        "attempt": {"name": "fix-step-3"},
        "workflow": {"metadata": {"uid": "u1", "namespace": "shop", "name": "fix"}},
        **(question or {}),
    }
    verdict = VERDICTS[gate].model_validate({"decision": "allow", "reasons": [], "warnings": [], "facts": [], "conditions": []})
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return Decided(gate, text, now, "r1", {}, None, fresh=False, decision_id=decision_id, input_digest="digest", verdict=verdict)


def workflow(uid: str = "u1", **status: Any) -> dict[str, Any]:
    """A WorkflowExecution that has ended."""
    times = {"startTime": "2026-11-21T10:00:00.000Z", "completionTime": "2026-11-21T10:01:30.500Z"}
    return {
        "metadata": {"uid": uid, "namespace": "shop", "name": "fix"},
        "spec": {},
        "status": {"phase": "completed", "totalSteps": 1, "workflowResult": {"outcome": "success"}, **times, **status},
    }


def attempt(step: int = 1, number: int = 0, *, phase: str = "completed", seconds: float = 2.0, **spec: Any) -> dict[str, Any]:
    """A KubernetesExecution that has ended after this time; its one operation patched the Deployment shop/web."""
    operation = {"verb": "patch", "apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web", "sentAt": NOW}
    return {
        "metadata": {"name": f"fix-step-{step}", "uid": "e1"},
        "spec": {"stepNumber": step, "attempt": number, "action": "scale_deployment", **spec},
        "status": {
            "phase": phase,
            "startTime": "2026-11-21T10:00:00.000Z",
            "completionTime": f"2026-11-21T10:{int(seconds // 60):02d}:{seconds % 60:06.3f}Z",
            "executionResults": {"operations": [operation], **({} if phase == "completed" else {"errorType": "timeout"})},
        },
    }


def recorded(process: ControllerProcess, query: str, *values: object) -> list[dict[str, Any]]:
    """What a controller's own audit store answers."""
    file = Path(process.environment["PHASEGATE_AUDIT_DIR"]) / "audit.db"
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as store:
        store.row_factory = sqlite3.Row
        return [dict(row) for row in store.execute(query, values)]


def postgresql_programs() -> Path | None:
    """Where this machine keeps the programs of a PostgreSQL server."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    named = shutil.which("initdb")
    return Path(named).parent if named else found[-1].parent if found else None


@contextlib.contextmanager
def postgresql(programs: Path) -> Iterator[str]:
    """The URL of a server of its own."""
    # It refuses to run as root.
    user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="audit-postgresql-"))
    folder.chmod(0o700)
    if user:
        shutil.chown(folder, "nobody", "nogroup")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    quiet: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **user}
    try:
        command = [programs / "initdb", "--pgdata", data, "--username=audit", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
        subprocess.run(command, check=True, timeout=60, **quiet)
        command = [programs / "pg_ctl", "start", "--wait", "--pgdata", data, "--options", f"-F -k {folder} -h 127.0.0.1 -p {port}"]
        subprocess.run(command, check=True, timeout=60, **quiet)
        yield f"postgresql://audit@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([programs / "pg_ctl", "stop", "--mode=immediate", "--pgdata", data], check=False, timeout=60, **quiet)
        shutil.rmtree(folder)
