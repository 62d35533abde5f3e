"""What can go wrong on the way to a local control plane; every message names what was attempted and the way out."""

from __future__ import annotations

from controller.core.errors import PermanentError


class LocalError(PermanentError):
    """The local control plane, or something that it needs, could not be had."""
