"""The audit store that a command reads: named by a flag, or by the environment where its URL holds a password."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

from controller.audit.store import AuditUrlError, Store
from controller.cli._exits import CommandError, Exit

AUDIT_URL = "PHASEGATE_AUDIT_URL"


def add_audit_argument(parser: argparse.ArgumentParser) -> None:
    """Which store."""
    parser.add_argument(
        "--audit",
        metavar="URL",
        help=f"the audit store: sqlite:////file or postgresql://user@host/database (default: the environment's {AUDIT_URL},"
        " where a password belongs)",
    )


@contextmanager
def audit_store(arguments: argparse.Namespace) -> Iterator[Store]:
    """The store, which is there.

    Raises:
        CommandError: no usable one is named.
        StoreAwayError: it cannot be reached.
    """
    url = arguments.audit or os.environ.get(AUDIT_URL)
    if not url:
        raise CommandError(f"name the audit store with --audit, or in the environment's {AUDIT_URL}", Exit.USAGE)
    try:
        store = Store(url)
    except AuditUrlError as exc:
        raise CommandError(str(exc), Exit.USAGE) from exc
    try:
        store.expect()
        yield store
    finally:
        store.close()
