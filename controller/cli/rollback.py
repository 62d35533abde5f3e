"""`phasegate rollback`: take back what a degraded workflow did, last step first."""

from __future__ import annotations

import argparse

from controller.cli._wish import Wish, add_wish
from controller.core import phases
from controller.core.names import ROLLBACK_ANNOTATION

_ROLLBACK = Wish(
    command="rollback",
    verb="roll back",
    annotation=ROLLBACK_ANNOTATION,
    phases=(phases.DEGRADED,),
    otherwise="only a degraded one (rollbackStrategy: manual, and a step failed or it was cancelled) waits for that;"
    " `phasegate cancel` stops one that runs",
    asked="asked to roll back; its steps are taken back one at a time, the last completed first",
)


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    add_wish(commands, _ROLLBACK, "take back what a degraded workflow did, last step first")
