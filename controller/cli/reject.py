"""`phasegate reject`: say no, in your own name, to the plan of a workflow that waits for approval; it fails, and nothing was touched."""

from __future__ import annotations

import argparse

from controller.cli._decide import add_decision


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    add_decision(commands, "Rejected", "say no, in your own name, to the plan of a workflow that waits for approval; it fails untouched")
