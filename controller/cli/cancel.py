"""`phasegate cancel`: let nothing new of a workflow start; what runs finishes, then policy says whether to take back what was done."""

from __future__ import annotations

import argparse

from controller.cli._wish import Wish, add_wish
from controller.core import phases
from controller.core.names import CANCEL_ANNOTATION

_CANCEL = Wish(
    command="cancel",
    verb="cancel",
    annotation=CANCEL_ANNOTATION,
    phases=(phases.NEW, phases.PLANNING, phases.VALIDATING, phases.EXECUTING, phases.MONITORING),
    otherwise="it can no longer be cancelled",
    asked="asked to cancel; what runs finishes first, then policy says whether to take back what was done",
)


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    add_wish(commands, _CANCEL, "let nothing new of a workflow start; what runs finishes, then policy says whether to roll back")
