"""The local control plane: brought up, mended, looked at and taken down, one state folder each.

`up` compares what runs with what should and starts what is missing, so it is the first start, the second call that changes nothing,
and the repair after a crash, all in one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

from controller.local import commands, identity, objects, ports, processes, programs
from controller.local.api import Api
from controller.local.commands import CONTROLLER, SERVERS, WORKERS
from controller.local.errors import LocalError
from controller.local.folder import Folder, Record, opa_config

PROGRAMS = commands.PROGRAMS

_PATIENCE = 90.0
_LOOK_EVERY = 0.03
_GRACE = 8.0
_TAIL = 12


@dataclass(frozen=True, slots=True)
class Plane:
    """A control plane that is up. ``bundle``, ``health`` and ``metrics`` are ``host:port``, as the flags of `phasegate run` take them."""

    state: Path
    kubeconfig: Path
    server: str
    opa: str
    bundle: str
    health: str
    metrics: str
    logs: Path
    pids: Mapping[str, int]
    users: Mapping[str, Path]

    def document(self) -> dict[str, Any]:
        """What `phasegate local up --output json` prints."""
        return {
            "kubeconfig": str(self.kubeconfig),
            "server": self.server,
            "opa": self.opa,
            "bundle": self.bundle,
            "health": self.health,
            "metrics": self.metrics,
            "logs": str(self.logs),
            "pids": dict(self.pids),
            "users": {name: str(path) for name, path in self.users.items()},
        }

    @property
    def controller_kubeconfig(self) -> Path:
        """For a `phasegate run` of one's own: the controller's ServiceAccount, with the shipped rights."""
        return Folder(self.state).kubeconfig(CONTROLLER)

    def stop(self, name: str, *, grace: float = 0.0) -> None:
        """End one process: at once, or after ``grace`` seconds to end by itself."""
        folder = Folder(self.state)
        with folder.alone():
            processes.end([process for key, process in processes.running(self.state).items() if key == name], grace=grace)

    def start(self, name: str) -> None:
        """Start one process that was stopped, and wait until it answers."""
        folder = Folder(self.state)
        with folder.alone():
            raising = _Raising(folder, _recorded(folder), programs.provide(*PROGRAMS))
            raising.start([name])
            raising.await_process(name)

    def pid(self, name: str) -> int | None:
        """The process of that name as of now; None if it does not run."""
        process = processes.running(self.state).get(name)
        return process.pid if process else None


@dataclass(frozen=True, slots=True)
class Status:
    """What a state folder holds at the moment; ``plane`` is None before the first `up`."""

    plane: Plane | None
    missing: tuple[str, ...]

    @property
    def is_running(self) -> bool:
        """Whether everything that should run does."""
        return self.plane is not None and not self.missing


def up(state: Path, nodes: int | None = None, *, controller: bool = True) -> Plane:
    """Bring everything up, or mend what is not; returns when all of it answers.

    ``nodes`` None keeps what there is (2 at first). A controller that runs is kept whatever ``controller`` says.
    """
    found = programs.provide(*PROGRAMS)
    folder = Folder(state.resolve())
    with folder.alone():
        folder.prepare()
        record = folder.read() or Record(nodes=2, controller=controller, tokens=identity.new_tokens())
        running = processes.running(folder.path)
        record = replace(
            record,
            nodes=record.nodes if nodes is None else nodes,
            controller=controller or CONTROLLER in running,
            ports=_settle_ports(folder, record, running),
        )
        folder.write(record)
        raising = _Raising(folder, record, found)
        record = raising.raise_all()
        return _plane(folder, record)


def down(state: Path, *, purge: bool = False) -> tuple[str, ...]:
    """End everything that was started for this state folder, and answer its names; ``purge`` removes the folder as well."""
    folder = Folder(state.resolve())
    if not folder.path.is_dir():
        return ()
    with folder.alone():
        running = processes.running(folder.path)
        grace = 0.0 if purge else _GRACE
        # Clients first: a server that goes first leaves them complaining, and waits for their requests.
        for group in (
            lambda name: name not in {"kube-apiserver", "etcd"},
            lambda name: name == "kube-apiserver",
            lambda name: name == "etcd",
        ):
            processes.end([process for name, process in running.items() if group(name)], grace=grace)
        if purge:
            folder.purge()
    return tuple(sorted(running))


def status(state: Path) -> Status:
    """Look, and change nothing."""
    folder = Folder(state.resolve())
    record = folder.read()
    if record is None or not record.ports:
        return Status(None, _names(controller=False))
    plane = _plane(folder, record)
    return Status(plane, tuple(name for name in _names(controller=record.controller) if name not in plane.pids))


class _Raising:
    """One run of `up`: what to start, in which order, and what to wait for."""

    def __init__(self, folder: Folder, record: Record, found: Mapping[str, Path]) -> None:
        self._folder = folder
        self._record = record
        self._programs = found
        self._api = Api(_server(record), record.tokens["admin"], folder.authority)

    def raise_all(self) -> Record:
        """Start what is missing, fill the API server, wait for everything."""
        folder, record = self._folder, self._record
        identity.write_private(folder.token_file, identity.token_file(record.tokens))
        identity.write_private(folder.opa_config, opa_config(_address(record, "bundle")))
        self.start(SERVERS)
        self.await_process("kube-apiserver")
        for user in identity.USERS:
            text = identity.kubeconfig(_server(record), folder.authority.read_bytes(), user, record.tokens[user])
            identity.write_private(folder.kubeconfig(user), text)
        self.start(WORKERS)
        objects.create_nodes(self._api, record.nodes)
        wanted = objects.digest()
        if record.applied != wanted:
            objects.apply(self._programs["kubectl"], folder)
            self._await("the custom kinds", "kube-apiserver", lambda: objects.are_established(self._api))
            record = self._record = replace(record, applied=wanted)
            folder.write(record)
        if record.controller:
            self.start([CONTROLLER])
        with ThreadPoolExecutor() as pool:
            for waiting in [pool.submit(self.await_process, name) for name in _names(controller=record.controller)]:
                waiting.result()
        return record

    def start(self, names: Iterable[str]) -> None:
        """Start those of the processes that do not run."""
        running = processes.running(self._folder.path)
        for name in names:
            if name not in running:
                command = commands.command(name, self._folder, self._record.ports, self._programs)
                processes.start(self._folder.path, name, command, self._folder.log(name), commands.environment(name))

    def await_process(self, name: str) -> None:
        """Wait until it does its work."""
        self._await(name, name, lambda: self._works(name))

    def _works(self, name: str) -> bool:
        match name:
            case "kube-apiserver":
                return self._folder.authority.exists() and self._api.get("/readyz").status == HTTPStatus.OK
            case "opa":
                # With a controller there is a policy set to wait for; its own readiness says when OPA has it.
                return Api(f"http://{_address(self._record, 'opa')}").get("/health").status == HTTPStatus.OK
            case "kwok" | "kube-controller-manager":
                return objects.are_nodes_ready(self._api, self._record.nodes)
            case "controller":
                return Api(f"http://{_address(self._record, 'health')}").get("/readyz").status == HTTPStatus.OK
            case _:
                return True

    def _await(self, what: str, process: str, check: Callable[[], bool]) -> None:
        began = time.monotonic()
        while not check():
            if process not in processes.running(self._folder.path):
                raise LocalError(f"{process} ended instead of starting{self._log_tail(process)}")
            if (waited := time.monotonic() - began) > _PATIENCE:
                raise LocalError(f"{what} is not ready after {_PATIENCE:.0f} s{self._complaint(process)}{self._log_tail(process)}")
            time.sleep(_LOOK_EVERY * (1 + waited))

    def _complaint(self, process: str) -> str:
        """What the controller itself says is wrong."""
        if process != CONTROLLER:
            return ""
        checks = Api(f"http://{_address(self._record, 'health')}").get("/readyz").document.get("checks", {})
        return "".join(f"; {name}: {check['why']}, {check['remedy']}" for name, check in checks.items() if not check["ok"])

    def _log_tail(self, process: str) -> str:
        log = self._folder.log(process)
        lines = log.read_text(errors="replace").splitlines()[-_TAIL:] if log.exists() else []
        return f"; {log} ends with:\n  " + "\n  ".join(line[:400] for line in lines)


def _settle_ports(folder: Folder, record: Record, running: Mapping[str, processes.Process]) -> dict[str, int]:
    """The recorded ports, but for those that somebody else took while nothing of ours listened there."""
    needed = [name for name in commands.LISTENS if name not in running]
    lost = {port for name in needed for port in commands.LISTENS[name] if port in record.ports and not ports.is_free(record.ports[port])}
    if CONTROLLER in needed and not record.controller:
        # Whoever starts `phasegate run` by hand listens there, as is meant.
        lost -= set(commands.LISTENS[CONTROLLER])
    if lost:
        # Every other process knows the address that is lost: all of them start anew, on the same data.
        processes.end(running.values(), grace=_GRACE)
    held = {name: port for name, port in record.ports.items() if name not in lost}
    return ports.claim(folder.path, commands.PORTS, held)


def _recorded(folder: Folder) -> Record:
    record = folder.read()
    if record is None:
        raise LocalError(f"no local control plane was ever up in {folder.path}; run `phasegate local up --state {folder.path}`")
    return record


def _names(*, controller: bool) -> tuple[str, ...]:
    return (*SERVERS, *WORKERS, *((CONTROLLER,) if controller else ()))


def _address(record: Record, port: str) -> str:
    return commands.address(record.ports[port])


def _server(record: Record) -> str:
    return f"https://{_address(record, 'kube-apiserver')}"


def _plane(folder: Folder, record: Record) -> Plane:
    return Plane(
        state=folder.path,
        kubeconfig=folder.kubeconfig("admin"),
        server=_server(record),
        opa=f"http://{_address(record, 'opa')}",
        bundle=_address(record, "bundle"),
        health=_address(record, "health"),
        metrics=_address(record, "metrics"),
        logs=folder.logs,
        pids={name: process.pid for name, process in sorted(processes.running(folder.path).items())},
        users={name: folder.kubeconfig(name) for name in identity.PEOPLE},
    )
