"""Start, look at and end a control plane of one's own, on this machine and for nothing else."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from controller.cli._exits import Exit
from controller.cli._output import add_output_argument, print_answer
from controller.local import plane

_MOST_NODES = 1000


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Up, down and status, each with its state folder."""
    parser = commands.add_parser("local", description=__doc__, help=__doc__)
    parser.set_defaults(run=run)
    actions = parser.add_subparsers(dest="action", required=True, metavar="up|down|status")
    up = actions.add_parser("up", help="start everything, or mend what does not run; prints where it is")
    up.add_argument("--nodes", type=_node_count, help="simulated nodes (default: those that are there, 2 at first)")
    up.add_argument("--no-controller", action="store_true", help="leave the controller to be started by hand: phasegate run …")
    down = actions.add_parser("down", help="end exactly what `up` started")
    down.add_argument("--purge", action="store_true", help="remove the state folder too, with all objects")
    status = actions.add_parser("status", help="what runs; 1 if something that should does not")
    for action in (up, down, status):
        action.add_argument("--state", type=Path, required=True, metavar="DIR", help="the folder that keeps this control plane")
        add_output_argument(action)


def run(arguments: argparse.Namespace) -> int:
    """Do the one that was asked for."""
    match arguments.action:
        case "up":
            found = plane.up(arguments.state, arguments.nodes, controller=not arguments.no_controller)
            print_answer(arguments.output, found.document(), _lines(found))
            return Exit.DONE
        case "down":
            ended = plane.down(arguments.state, purge=arguments.purge)
            print_answer(arguments.output, {"ended": list(ended)}, [f"ended {', '.join(ended)}" if ended else "nothing was running"])
            return Exit.DONE
        case _:
            return _status(arguments)


def _status(arguments: argparse.Namespace) -> int:
    status = plane.status(arguments.state)
    place: dict[str, Any] = status.plane.document() if status.plane else {}
    document = {"running": status.is_running, "missing": list(status.missing), **place}
    lines = _lines(status.plane) if status.plane else [f"no control plane was ever up in {arguments.state}"]
    if status.plane and status.missing:
        lines.append(f"not running: {', '.join(status.missing)}; `phasegate local up --state {arguments.state}` mends it")
    print_answer(arguments.output, document, lines)
    return Exit.DONE if status.is_running else Exit.NO


def _lines(found: plane.Plane) -> list[str]:
    return [
        f"export KUBECONFIG={found.kubeconfig}",
        f"API server   {found.server}",
        f"OPA          {found.opa}",
        f"bundle from  {found.bundle}",
        f"health       http://{found.health}/readyz",
        f"metrics      http://{found.metrics}/metrics",
        f"logs         {found.logs}",
        f"users        {', '.join(str(path) for path in found.users.values())}",
        f"processes    {', '.join(f'{name} {pid}' for name, pid in found.pids.items()) or 'none'}",
    ]


def _node_count(text: str) -> int:
    count = int(text)
    if not 0 <= count <= _MOST_NODES:
        raise argparse.ArgumentTypeError(f"{count} is not between 0 and {_MOST_NODES}")
    return count
