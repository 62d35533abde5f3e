"""How a command ends: the exit codes that every command shares, and the error that carries one."""

from __future__ import annotations

from enum import IntEnum

from controller.core.errors import ControllerError


class Exit(IntEnum):
    """The exit codes of `phasegate`."""

    DONE = 0
    NO = 1
    USAGE = 2
    UNREACHABLE = 3


class CommandError(ControllerError):
    """Ends a command with a message on stderr and an exit code."""

    def __init__(self, message: str, exit_code: Exit = Exit.UNREACHABLE) -> None:
        super().__init__(message)
        self.exit = exit_code
