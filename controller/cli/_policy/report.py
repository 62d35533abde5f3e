"""What was found in policies, told to whoever asks: people, programs, GitHub, or what reads JUnit's XML."""

from __future__ import annotations

import argparse
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from controller.cli._policy.manifests import Place
from controller.cli._policy.paths import Given
from controller.policy.sources import PolicyProblem

_FORMATS = ("text", "json", "github", "junit")
_LONGEST_LINE = 160
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem where it stands on disk; ``line`` 0 is the file as a whole. ``text`` is the line, ``caret`` the column in it."""

    source: str
    file: str
    line: int
    column: int
    message: str
    remedy: str = ""
    warning: bool = False
    text: str = ""
    caret: int = 0

    @property
    def place(self) -> str:
        """File, line and column in the form that editors can jump to."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "source": self.source,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "severity": "warning" if self.warning else "error",
            "message": self.message,
            "remedy": self.remedy,
        }


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that was tried: a source's check, or one of its tests."""

    source: str
    name: str
    findings: Sequence[Finding] = ()
    seconds: float = 0.0
    skipped: bool = False
    printed: str = ""

    @property
    def failed(self) -> bool:
        """Whether anything found is an error."""
        return any(not finding.warning for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Report:
    """All that was tried, a document for programs and lines for people; the lines come after the findings."""

    command: str
    cases: Sequence[Case]
    document: dict[str, Any] = field(default_factory=dict)
    lines: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not any(case.failed for case in self.cases)

    def findings(self) -> list[Finding]:
        """Everything found, once each."""
        return list(dict.fromkeys(finding for case in self.cases for finding in case.findings))


def add_format_argument(parser: argparse.ArgumentParser) -> None:
    """How the report is printed."""
    parser.add_argument(
        "-o",
        "--output",
        choices=_FORMATS,
        default="text",
        help="text for people, json for programs, github for annotations in a pull request, junit for XML (default: text)",
    )


def print_report(output: str, report: Report) -> None:
    """Print it."""
    match output:
        case "json":
            print(json.dumps({"passed": report.passed, **report.document, "problems": [f.document() for f in report.findings()]}, indent=2))
        case "junit":
            print(_junit(report))
        case "github":
            _print_all(_github(finding) for finding in report.findings())
            _print_all(shown(line) for line in report.lines)
        case _:
            for case in report.cases:
                _print_all(line for finding in case.findings for line in lines_of(finding))
                if case.failed and case.printed:
                    _print_all(f"  it printed: {shown(line)}" for line in case.printed.splitlines())
            _print_all(shown(line) for line in report.lines)


def findings_of(given: Given, problems: Iterable[PolicyProblem]) -> list[Finding]:
    """The problems where they stand on disk."""
    return [_finding(given, problem) for problem in problems]


def on_disk(given: Given, path: str, line: int) -> tuple[str, int]:
    """File and line on disk of a line of a module; one that is not on disk goes by its own name."""
    source, _, key = path.partition("/")
    place = given.places.get((source, key))
    if place is None:
        return path, line
    return display(place.file), place.line + (line if place.exact else 1)


def display(file: str) -> str:
    """A path as seen from here, which is what GitHub wants to see, too."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else file


def lines_of(finding: Finding) -> Iterator[str]:
    """A finding for people: the place, the line, a caret under the column, and what would help."""
    yield f"{shown(finding.place)}: {'warning' if finding.warning else 'error'}: {shown(finding.message)}"
    if finding.text:
        text, caret = _window(finding.text, finding.caret)
        number = str(finding.line)
        yield f"  {number} | {shown(text)}"
        yield f"  {' ' * len(number)} | {''.join(_as_wide(char) for char in text[: max(caret - 1, 0)])}^"
    if finding.remedy:
        yield f"  → {shown(finding.remedy)}"


def shown(text: str) -> str:
    """Text on one line of a terminal, on which nothing that policies say can have an effect."""
    return "".join(char if char.isprintable() or char == "\t" else " " if char in "\r\n" else "�" for char in text)


def _finding(given: Given, problem: PolicyProblem) -> Finding:
    place = given.places.get((problem.source, problem.key)) or given.places.get((problem.source, ""))
    lines = str((given.config_maps.get(problem.source) or {}).get("data", {}).get(problem.key, "")).split("\n")
    text = lines[problem.line - 1].rstrip("\r") if 0 < problem.line <= len(lines) else ""
    message = problem.message
    if place is None:
        file, line, column = f"{problem.source}/{problem.key}".removesuffix("/"), problem.line, problem.column
    else:
        file, (line, column) = display(place.file), _position(place, problem)
        if problem.line and not place.exact:
            message = f"line {problem.line}, column {problem.column} of {problem.key}: {message}"
    return Finding(problem.source, file, line, column, message, problem.remedy, problem.warning, text, problem.column)


def _position(place: Place, problem: PolicyProblem) -> tuple[int, int]:
    if not place.exact:
        return place.line + 1, place.column + 1
    return (place.line + problem.line, place.column + problem.column) if problem.line else (place.line, 1 if place.line else 0)


def _window(text: str, caret: int) -> tuple[str, int]:
    """Of a very long line, what is around the caret."""
    first = max(0, caret - _LONGEST_LINE // 2) if len(text) > _LONGEST_LINE else 0
    return text[first : first + _LONGEST_LINE], caret - first


def _as_wide(char: str) -> str:
    """Blank space of the same width."""
    return "\t" if char == "\t" else "  " if unicodedata.east_asian_width(char) in "WF" else " "


def _github(finding: Finding) -> str:
    """A workflow command, which becomes an annotation of the file in the pull request."""
    properties = {"file": finding.file}
    if finding.line:
        properties |= {"line": str(finding.line), "col": str(finding.column)}
    properties["title"] = finding.source
    told = ",".join(f"{name}={_escaped(value).replace(':', '%3A').replace(',', '%2C')}" for name, value in properties.items())
    message = finding.message + (f"\n→ {finding.remedy}" if finding.remedy else "")
    return f"::{'warning' if finding.warning else 'error'} {told}::{_escaped(message)}"


def _escaped(text: str) -> str:
    # The name of a file may be no text.
    return text.encode(errors="replace").decode().replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _junit(report: Report) -> str:
    root = ET.Element("testsuites", name=f"phasegate policy {report.command}")
    for source in dict.fromkeys(case.source for case in report.cases):
        cases = [case for case in report.cases if case.source == source]
        numbers = {"tests": len(cases), "failures": sum(c.failed for c in cases), "errors": 0, "skipped": sum(c.skipped for c in cases)}
        attributes = {"name": _plain(source), **{name: str(number) for name, number in numbers.items()}}
        suite = ET.SubElement(root, "testsuite", attributes, time=f"{sum(case.seconds for case in cases):.6f}")
        for case in cases:
            _add_case(suite, case)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode")


def _add_case(suite: ET.Element, case: Case) -> None:
    element = ET.SubElement(suite, "testcase", classname=_plain(case.source), name=_plain(case.name), time=f"{case.seconds:.6f}")
    errors = [finding for finding in case.findings if not finding.warning]
    if errors:
        failure = ET.SubElement(element, "failure", message=_plain(errors[0].message), type="failure")
        failure.text = _plain("\n".join(line for finding in errors for line in lines_of(finding)))
    elif case.skipped:
        ET.SubElement(element, "skipped")
    warned = [line for finding in case.findings if finding.warning for line in lines_of(finding)]
    if said := "\n".join([*case.printed.splitlines(), *warned]):
        ET.SubElement(element, "system-out").text = _plain(said)


def _plain(text: str) -> str:
    """Text that XML can hold."""
    return _NOT_XML.sub("�", text)


def _print_all(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)
