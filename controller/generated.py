"""Folders whose files are generated: written, or compared with what is there, the same way by every generator."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from typing_extensions import override


@dataclass(frozen=True, slots=True)
class GeneratedFiles:
    """The files below ``folder`` that match one of ``patterns`` and belong to the generator; ``origin``: what they are made from."""

    folder: Path
    patterns: tuple[str, ...]
    origin: str

    def drifted(self, wanted: Mapping[str, str]) -> list[str]:
        """Name the files that are not ``wanted`` (path below the folder to text): changed, missing, or without a source."""
        there = {
            path.relative_to(self.folder).as_posix(): path.read_text(encoding="utf-8")
            for pattern in self.patterns
            for path in self.folder.glob(pattern)
        }
        return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))

    def write(self, wanted: Mapping[str, str]) -> list[str]:
        """Bring the folder to what is wanted; answers the files that changed."""
        changed = self.drifted(wanted)
        for name in changed:
            path = self.folder / name
            if name in wanted:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(wanted[name], encoding="utf-8")
            else:
                path.unlink()
        return changed

    def bring(self, wanted: Mapping[str, str], *, check: bool) -> int:
        """Write, or with ``check`` only compare, and say what; answers the exit code, 1 where a comparison failed."""
        if not check:
            for name in self.write(wanted):
                sys.stdout.write(f"generated: {self.folder.name}/{name}\n")
            return 0
        stale = self.drifted(wanted)
        for name in stale:
            sys.stderr.write(f"{self.folder.name}/{name} is not what {self.origin} says: run `make generate`\n")
        return 1 if stale else 0


class PlainDumper(yaml.SafeDumper):
    """Writes every part out: an alias (`*id001`) in a manifest helps nobody."""

    @override
    def ignore_aliases(self, data: object) -> bool:
        return True
