"""The spool: a folder of files of JSON lines, written before anything else happens, so that no database is ever waited for.

One file is a batch: the writer (writer.py) seals the one that is being written to, stores it whole, and removes it. Whoever is killed
in between stores it once more, which changes nothing (store.py). A file that is being written to is locked, and the lock dies with its
process, so processes may share a folder and take over what others left behind.

What cannot be written is dropped and counted, never raised: a full disk is no reason to leave a cluster broken.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import time
from pathlib import Path

from controller.observe.logs import events

log = events(__name__)

_SUFFIX = ".jsonl"
_MOST_BYTES = 128 << 20
_SEGMENT_BYTES = 2 << 20
_REMEDY = "give the spool more room, or mend the database that should empty it"


class Journal:
    """Appends records; not to be shared between threads, but for ``sealed``, ``read`` and ``remove``.

    Args:
        folder: where it lies; made when it is needed.
        most_bytes: what may wait at most; what comes then is dropped.
        segment_bytes: from which size on another file is begun.

    ``recorded`` and ``dropped`` count records since the start; ``waiting_bytes`` and ``oldest`` (seconds since the epoch, None if nothing
    waits) tell what the store has not got yet, as of the last ``measure``.
    """

    def __init__(self, folder: Path, *, most_bytes: int = _MOST_BYTES, segment_bytes: int = _SEGMENT_BYTES) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._segment_bytes = segment_bytes
        self._number = itertools.count()
        self._fd: int | None = None
        self._size = 0
        self._lines = 0
        self._trouble = ""
        self.recorded = 0
        self.dropped = 0
        self.waiting_bytes = 0
        self.oldest: float | None = None
        self.measure()

    def append(self, line: bytes) -> bool:
        """Write one record; False if it had to be dropped. Nothing waits for the disk: a crash of the machine may cost the last ones."""
        try:
            self._write(line)
        except OSError as exc:
            self.dropped += 1
            self._tell(exc.strerror or str(exc))
            return False
        self.recorded += 1
        self._tell("")
        return True

    def seal(self) -> None:
        """End the file that is being written to; the next record begins another one."""
        if self._fd is None:
            return
        try:
            if os.fstat(self._fd).st_nlink == 0:
                # Somebody removed it while it was open.
                self.dropped += self._lines
                self._tell("the folder was emptied by someone else")
        finally:
            os.close(self._fd)
            self._fd = None

    def measure(self) -> None:
        """Look at what waits in the folder, whoever wrote it."""
        files = [(path.name, size) for path in self._files() if (size := _size(path))]
        self.waiting_bytes = sum(size for _, size in files)
        self.oldest = int(files[0][0].partition("-")[0]) / 1e9 if files else None

    def sealed(self) -> list[Path]:
        """The files that nobody writes to any more, oldest first."""
        return [path for path in self._files() if not _is_written_to(path)]

    @staticmethod
    def read(path: Path) -> list[bytes]:
        """The records of a sealed file; none if another process has just removed it.

        Raises:
            OSError: it cannot be read.
        """
        try:
            return path.read_bytes().splitlines()
        except FileNotFoundError:
            return []

    @staticmethod
    def remove(path: Path) -> None:
        """Remove a file whose records are stored.

        Raises:
            OSError: it cannot be removed.
        """
        path.unlink(missing_ok=True)

    def _write(self, line: bytes) -> None:
        if self.waiting_bytes + len(line) > self._most_bytes:
            raise OSError(f"{self._most_bytes >> 20} MiB wait already")
        if self._fd is None or self._size >= self._segment_bytes:
            self._begin()
        assert self._fd is not None
        if (written := os.write(self._fd, line)) < len(line):
            # The disk is full. Half a record is none.
            os.ftruncate(self._fd, self._size)
            raise OSError(f"only {written} of {len(line)} bytes could be written")
        self._size += len(line)
        self._lines += 1
        self.waiting_bytes += len(line)
        self.oldest = self.oldest or time.time()

    def _begin(self) -> None:
        self.seal()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{time.time_ns():020d}-{os.getpid()}-{next(self._number)}{_SUFFIX}"
        # It gets its name once it is locked, or another process could take it for one that is done with.
        unnamed = path.with_suffix(".new")
        fd = os.open(unnamed, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unnamed.rename(path)
        except OSError:
            os.close(fd)
            raise
        self._fd, self._size, self._lines = fd, 0, 0

    def _files(self) -> list[Path]:
        # The names begin with the time, at a fixed width.
        return sorted(self._folder.glob(f"[0-9]*{_SUFFIX}"))

    def _tell(self, trouble: str) -> None:
        """Say it once when something goes wrong, and once when it is over."""
        if trouble and not self._trouble:
            log.warning("audit_records_dropped", spool=str(self._folder), error=trouble, remedy=_REMEDY)
        if self._trouble and not trouble:
            log.info("audit_records_kept_again", spool=str(self._folder), dropped=self.dropped)
        self._trouble = trouble


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _is_written_to(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        # Gone, or not ours to read.
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(fd)
