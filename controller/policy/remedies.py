"""What to do about what the compiler says; and what policies may not call."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

TOO_LONG = "split the file; up to 100 KB there is no question"
TOO_MUCH = "look for a comprehension, a recursion or a numbers.range without a bound, or split the text"
_FORBIDDEN_PREFIXES = ("http.", "net.", "providers.")
_FORBIDDEN = frozenset(
    {
        "opa.runtime",
        "time.now_ns",
        "rand.intn",
        "uuid.rfc4122",
        # These compare with the wall clock unless told a time, and nothing can oblige the caller to tell it.
        "io.jwt.decode_verify",
        "trace",
    }
)
_NO_OUTSIDE = "policies read no clock, no network and no chance: use input.now and facts"
_ADVICE = (
    (re.compile(r"keyword is required (before rule body|for partial set rules)"), "this is Rego v0; write `deny contains {…} if {…}`"),
    (
        re.compile(r"(is|may be) recursive"),
        "name what you refer to, as in data.kubernaut.rules.dispatch.my_team.deny: a whole folder includes the asker",
    ),
    (re.compile(r"conflicts with rule|conflicts with:"), "another package has that name already; choose one below kubernaut.rules.<gate>"),
    (re.compile(r"undefined function data\."), "nothing in the set defines it; whoever did has to keep it, or change its users first"),
    (re.compile(r"unsafe"), "nothing gives this name a value: define a rule of that name, bind it with `some`, or mend its spelling"),
    (re.compile(r"timed out|deadline exceeded|cancel"), "it takes too long for an empty question; bound what it iterates over"),
    (
        re.compile(r"conflicting values|produced multiple outputs|must not produce multiple"),
        "two definitions hold at once; make them exclude each other",
    ),
    (re.compile(r"assigned var .* unused|unused (argument|import)|import .* unused|declared var .* unused"), "remove it, or name it `_`"),
)
_IN_TEXT = re.compile(
    r"(?P<file>[^\s:]+):(?P<row>\d+): (?P<code>rego_\w+): (?P<message>[^\n]*)(?:\n\t[^\n]*\n\t(?P<indent>[ \t]*)\^)?",
)


def is_allowed(builtin: str) -> bool:
    """Tell whether policies may call this built-in function of OPA."""
    return builtin not in _FORBIDDEN and not builtin.startswith(_FORBIDDEN_PREFIXES)


def remedy(error: Mapping[str, Any]) -> str:
    """What would help against an error of OPA; empty where its words are all there is to say."""
    message = str(error.get("message", ""))
    called = message.removeprefix("undefined function ").strip()
    if called != message and not is_allowed(called):
        return _NO_OUTSIDE
    details = error.get("details")
    if isinstance(details, Mapping) and details.get("oneOf"):
        return _spelling(details)
    return next((advice for pattern, advice in _ADVICE if pattern.search(message)), "")


def errors_in_text(text: str) -> Iterator[dict[str, Any]]:
    """The errors in what OPA says in words only: file, row, code, message, and where there is a caret, the column."""
    for found in _IN_TEXT.finditer(text):
        location = {"file": found["file"], "row": int(found["row"]), "col": len(found["indent"] or "") + 1}
        yield {"message": found["message"], "code": found["code"], "location": location}


def _spelling(details: Mapping[str, Any]) -> str:
    known = [str(name) for name in details["oneOf"]]
    position = details.get("pos", 0)
    parts = details.get("ref") or []
    written = str(parts[position].get("value", "")) if position < len(parts) else ""
    close = difflib.get_close_matches(written, known, n=1)
    return (f"did you mean {close[0]}? " if close else "") + f"there are {', '.join(known[:20])}"
