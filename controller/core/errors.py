"""The error tree: what a failure means for the one who sees it.

ControllerError
├── RetryableError   try again after ``delay``; nothing is lost
└── PermanentError   trying again cannot help; someone has to change something
"""

from __future__ import annotations

from datetime import timedelta


class ControllerError(Exception):
    """Anything that goes wrong here and has a name."""


class RetryableError(ControllerError):
    """A failure that may pass by itself.

    ``delay`` is how long to wait before the next try; None leaves it to the queue's backoff.
    """

    def __init__(self, message: str, *, delay: timedelta | None = None) -> None:
        super().__init__(message)
        self.delay = delay


class PermanentError(ControllerError):
    """A failure that stays until someone changes the input, a policy or a right."""
