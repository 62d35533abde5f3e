"""`phasegate run`: the controller, in the foreground; in a pod it needs no flags."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from controller.audit.store import AuditUrlError
from controller.cli._audit import AUDIT_URL
from controller.cli._exits import CommandError, Exit
from controller.gates.client import opa_address
from controller.observe.health import ListenError, host_and_port
from controller.observe.logs import events, start_logging
from controller.run import CONTROLLERS, Options
from controller.run import run as run_controller

log = events(__name__)

# Named by the specification, and not there yet: accepted, so that one command line fits all releases.
_LATER = frozenset({"remediation"})
_LONGEST_LEASE = 3600
_OPA_TOKEN = "PHASEGATE_OPA_TOKEN"  # noqa: S105 - the name of a variable


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    defaults = Options()
    parser = commands.add_parser("run", help="the controller, in the foreground")
    parser.add_argument("--kubeconfig", type=Path, help="kubeconfig file (default: the pod's ServiceAccount, else KUBECONFIG)")
    parser.add_argument(
        "--opa", type=_checked(opa_address), default=defaults.opa, help="URL of the OPA that decides (default: %(default)s)"
    )
    parser.add_argument("--opa-binary", type=Path, help="the opa that checks policies before they are served (default: that on the PATH)")
    address = _checked(host_and_port)
    for flag, default, what in (
        ("--bundle-addr", defaults.bundle_addr, "where OPA fetches its bundle"),
        ("--health-addr", defaults.health_addr, "/healthz and /readyz"),
        ("--metrics-addr", defaults.metrics_addr, "/metrics"),
    ):
        parser.add_argument(flag, type=address, default=default, metavar="ADDR", help=f"{what}, host:port (default: %(default)s)")
    parser.add_argument("--metrics-open", action="store_true", help="let anyone read /metrics (for a local control plane only)")
    parser.add_argument("--controllers", default=",".join(CONTROLLERS), help="which of %(default)s to run, separated by commas")
    parser.add_argument("--namespaces", nargs="+", default=[], metavar="NAMESPACE", help="look at these namespaces only (default: all)")
    parser.add_argument(
        "--leader-elect",
        action=argparse.BooleanOptionalAction,
        default=defaults.leader_elect,
        help="work only while holding the controller's Lease in kubernaut-system (default: on); off is for a process that nobody"
        " stands beside, and for several that have shared out the --namespaces",
    )
    parser.add_argument(
        "--leader-elect-lease-duration",
        type=_seconds,
        default=defaults.lease_seconds,
        metavar="SECONDS",
        help="how long a silent leader is waited for; it renews after 2/15 of that and gives up after 2/3 (default: %(default)s)",
    )
    parser.add_argument(
        "--audit-dir",
        type=Path,
        default=defaults.audit_dir,
        help="folder that keeps decisions and what was done until a database has them, and audit.db unless the environment's"
        f" {AUDIT_URL} names another store (default: %(default)s)",
    )
    parser.add_argument("--log-format", choices=("json", "text"), default="json", help="json lines, or text for people")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT."""
    start_logging(arguments.log_format)
    controllers = frozenset(name.strip() for name in arguments.controllers.split(",") if name.strip())
    if unknown := sorted(controllers - {*CONTROLLERS, *_LATER}):
        raise CommandError(f"--controllers: {', '.join(unknown)} is not one of {', '.join(CONTROLLERS)}", Exit.USAGE)
    if later := controllers & _LATER:
        log.warning(
            "controller_not_there_yet", controllers=sorted(later), remedy="nothing has to be done; it begins to work with a later release"
        )
        controllers -= _LATER
    if not controllers:
        raise CommandError(f"--controllers names none that works; name one or more of {', '.join(CONTROLLERS)}", Exit.USAGE)
    namespaces = tuple(name for given in arguments.namespaces for name in given.split(",") if name)
    options = Options(
        kubeconfig=arguments.kubeconfig,
        opa=arguments.opa,
        opa_token=os.environ.get(_OPA_TOKEN),
        bundle_addr=arguments.bundle_addr,
        health_addr=arguments.health_addr,
        metrics_addr=arguments.metrics_addr,
        metrics_open=arguments.metrics_open,
        controllers=controllers,
        leader_elect=arguments.leader_elect,
        lease_seconds=arguments.leader_elect_lease_duration,
        namespaces=namespaces,
        audit_dir=arguments.audit_dir,
        audit_url=os.environ.get(AUDIT_URL, ""),
        opa_program=arguments.opa_binary or _opa_program(),
    )
    try:
        return asyncio.run(run_controller(options))
    except AuditUrlError as exc:
        raise CommandError(f"the environment's {AUDIT_URL}: {exc}") from exc
    except ListenError as exc:
        addresses = {
            "--bundle-addr": options.bundle_addr,
            "--health-addr": options.health_addr,
            "--metrics-addr": options.metrics_addr,
        }
        flags = " and ".join(flag for flag, address in addresses.items() if address == exc.address)
        raise CommandError(f"{flags}: {exc}") from exc


def _checked(check: Callable[[str], object]) -> Callable[[str], str]:
    """An argument as it was typed, once ``check`` takes it."""

    def typed(text: str) -> str:
        try:
            check(text)
        except ValueError as exc:
            raise argparse.ArgumentTypeError(str(exc)) from exc
        return text

    return typed


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _LONGEST_LEASE):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of seconds from 1 to {_LONGEST_LEASE}")
    return int(text)


def _opa_program() -> Path:
    if on_path := shutil.which("opa"):
        return Path(on_path)
    raise CommandError("there is no opa on the PATH to check policies with; name one with --opa-binary", Exit.USAGE)
