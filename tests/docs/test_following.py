"""Whether a page that is wrong would be noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.pages import follow, matches


@pytest.mark.parametrize(
    ("prints", "out", "same"),
    [
        ((), "anything\n", True),
        (("a", "b"), "a\nb\n", True),
        (("a", "b"), "a\n", False),
        (("a",), "a\nb\n", False),
        (("rev … since …",), "rev 12 since 3\n", True),
        (("rev … since …",), "rev 12\n", False),
        (("…", "b", "…"), "a\na\nb\nc\n", True),
        (("…", "b", "…"), "a\nc\n", False),
    ],
)
def test_what_a_page_shows_is_compared_with_what_is_printed(prints: tuple[str, ...], out: str, same: bool) -> None:
    assert matches(prints, out) is same


@pytest.mark.parametrize(
    ("block", "wrong"),
    [
        ("$ cat a/b.txt\nhello\n", False),
        ("$ cat a/b.txt\nhullo\n", True),
        ("$ false\n", True),
        ("$ false\n$ echo $?\n1\n", False),
        ("$ false\n$ echo $?\n2\n", True),
        ("$ export X=5\n$ echo $X\n5\n", False),
    ],
)
def test_a_command_that_does_otherwise_fails_the_page(tmp_path: Path, block: str, wrong: bool) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n```text a/b.txt\nhello\n```\n\n```console\n{block}```\n")
    if wrong:
        with pytest.raises(AssertionError):
            follow(page, tmp_path)
    else:
        follow(page, tmp_path)
