"""Policies on a laptop, in CI and in the cluster: check, test, render and compare them, and see what became of them."""

from __future__ import annotations

import argparse

from controller.cli._policy import check, diff, render, status, test


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Each action declares itself."""
    parser = commands.add_parser("policy", description=__doc__, help=__doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="check|test|render|diff|status")
    for action in (check, test, render, diff, status):
        action.add(actions)
