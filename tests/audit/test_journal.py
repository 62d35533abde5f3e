"""The spool, and everything that can be wrong with a disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from controller.audit.journal import Journal


def lines_of(journal: Journal) -> list[bytes]:
    return [line for path in journal.sealed() for line in journal.read(path)]


def test_records_are_read_back_in_order_once_sealed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a" / "spool", segment_bytes=10)
    assert all(journal.append(b"record %d\n" % number) for number in range(20))
    assert lines_of(journal) == [b"record %d" % number for number in range(19)]
    journal.seal()
    assert lines_of(journal) == [b"record %d" % number for number in range(20)]
    assert (journal.recorded, journal.dropped) == (20, 0)


def test_the_files_are_for_our_eyes_only(tmp_path: Path) -> None:
    Journal(tmp_path / "spool").append(b"x\n")
    assert [oct(path.stat().st_mode)[-3:] for path in [tmp_path / "spool", *(tmp_path / "spool").iterdir()]] == ["700", "600"]


def test_what_does_not_fit_is_dropped_and_counted_until_there_is_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    journal = Journal(tmp_path, most_bytes=30, segment_bytes=10)
    assert [journal.append(b"123456789\n") for _ in range(5)] == [True] * 3 + [False] * 2
    assert (journal.recorded, journal.dropped, journal.waiting_bytes) == (3, 2, 30)
    journal.seal()
    journal.remove(journal.sealed()[0])
    journal.measure()
    assert journal.append(b"123456789\n")
    assert [record.message for record in caplog.records] == ["audit_records_dropped", "audit_records_kept_again"]


def test_a_folder_that_cannot_be_made_raises_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    journal = Journal(tmp_path / "file" / "spool")
    assert [journal.append(b"x\n") for _ in range(3)] == [False] * 3
    assert (journal.recorded, journal.dropped, journal.sealed()) == (0, 3, [])
    assert [record.message for record in caplog.records] == ["audit_records_dropped"]


def test_a_disk_that_fills_up_in_the_middle_of_a_record_leaves_no_half(tmp_path: Path) -> None:
    script = """
        import resource, sys
        from pathlib import Path
        from controller.audit.journal import Journal
        journal = Journal(Path(sys.argv[1]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (25, resource.RLIM_INFINITY))
        kept = [journal.append(b"123456789\\n") for _ in range(4)]
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        kept.append(journal.append(b"the next!\\n"))
        journal.seal()
        print(kept, journal.recorded, journal.dropped)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), tmp_path]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "[True, True, False, False, True] 3 2\n"
    assert lines_of(Journal(tmp_path)) == [b"123456789", b"123456789", b"the next!"]


def test_a_folder_that_is_emptied_by_someone_else_is_counted_and_made_anew(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "spool")
    assert journal.append(b"lost\n")
    shutil.rmtree(tmp_path / "spool")
    journal.seal()
    assert journal.dropped == 1
    assert journal.append(b"kept\n")
    journal.seal()
    assert lines_of(journal) == [b"kept"]


def test_two_that_share_a_folder_leave_each_other_s_open_files_alone(tmp_path: Path) -> None:
    mine, theirs = Journal(tmp_path), Journal(tmp_path)
    mine.append(b"mine\n")
    theirs.append(b"theirs\n")
    assert (mine.sealed(), theirs.sealed()) == ([], [])
    mine.seal()
    assert lines_of(theirs) == [b"mine"]
    theirs.seal()
    assert lines_of(mine) == [b"mine", b"theirs"]


def test_what_a_killed_process_left_is_found(tmp_path: Path) -> None:
    script = """
        import os, signal, sys
        from pathlib import Path
        from controller.audit.journal import Journal
        Journal(Path(sys.argv[1])).append(b"left\\n")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), tmp_path], timeout=60, check=False)
    journal = Journal(tmp_path)
    assert (journal.waiting_bytes, lines_of(journal)) == (5, [b"left"])
    assert journal.oldest is not None
