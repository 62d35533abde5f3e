"""`phasegate replay`: ask recorded questions of other policies, and say which decisions would be others."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp

from controller import paths
from controller.audit.store import Row, Store
from controller.cli._audit import add_audit_argument, audit_store
from controller.cli._exits import CommandError, Exit
from controller.cli._output import add_output_argument, print_answer
from controller.cli._policy.changes import Change
from controller.cli._policy.judge import find_opa, judge
from controller.cli._policy.paths import Given, read_paths
from controller.cli._policy.report import lines_of, shown
from controller.core import verdict as verdicts
from controller.core.durations import parse_duration
from controller.core.times import stamp
from controller.core.verdict import VERDICTS, MalformedVerdictError
from controller.gates.client import BUNDLE, GateClient, PolicyNotReadyError
from controller.policy.bundle import build_bundle
from controller.policy.check import Checker
from controller.policy.sources import GATES, Module, Source, combine, read_shipped

SUMMARY = "ask recorded questions of other policies, and say which decisions would be others: 0 none, 1 some"

_AT_ONCE = 8
_DEADLINE = timedelta(seconds=5)
_START_SECONDS = 20.0
_LOOK_SECONDS = 0.02
_LONGEST_AGO = timedelta(days=99_999)
_SAID = frozenset({"decision", "reasons", "warnings", "facts"})
_VERBATIM = frozenset({"operations", "state", "result"})
_FOR_PEOPLE = frozenset({"message", "remedy"})

CHANGED = "changed"
UNKNOWN = "unknown"
SAME = "same"

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One decision asked again: the same, changed in these ways, or unknown for this reason."""

    row: Row
    state: str
    changes: Sequence[Change] = ()
    why: str = ""

    def document(self) -> dict[str, Any]:
        """For programs."""
        named = {key: self.row[key] for key in ("decision_id", "time", "gate", "namespace", "workflow", "step", "attempt", "revision")}
        return {**named, "changes": [change.document() for change in self.changes], "why": self.why}

    def lines(self) -> Iterator[str]:
        """For people."""
        row = self.row
        step = "" if row["step"] is None else f" step {row['step']}"
        yield f"{row['time']} {row['gate']} {row['namespace']}/{row['workflow']}{step} ({row['decision_id']}): {self.why or 'changes'}"
        for change in self.changes:
            yield f"    {change.what}: {_short(change.before)} → {_short(change.after)}"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("replay", help=SUMMARY, description=SUMMARY)
    parser.add_argument(
        "--policies",
        type=Path,
        required=True,
        metavar="DIR",
        help="a whole set (every gate is in it), or policies of a team, which then stand beside the shipped ones",
    )
    add_audit_argument(parser)
    parser.add_argument("--since", type=_since, default="7d", metavar="DURATION", help="how far back: 30m, 12h, 7d (default: %(default)s)")
    parser.add_argument("--gate", choices=sorted(GATES), help="only decisions of this gate")
    parser.add_argument("--opa", "--opa-binary", metavar="PROGRAM", help="the opa program (default: the pinned one, or that on the PATH)")
    add_output_argument(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ask them again."""
    with audit_store(arguments) as store:
        return asyncio.run(_replay(arguments, store))


async def _replay(arguments: argparse.Namespace, store: Store) -> int:
    opa = find_opa(arguments)
    checker = Checker(opa, paths.SCHEMAS)
    shipped, given = _policies(arguments.policies)
    defaults = await _accepted_settings(given, shipped, checker)
    since = stamp(datetime.now(UTC) - arguments.since)
    settings = {} if given.settings is not None else store.settings()
    counts: Counter[str] = Counter()
    told: list[Outcome] = []
    async with AsyncExitStack() as stack:
        # They are read as they are needed: where something else ends this, their query has to end, too.
        rows = stack.enter_context(closing(store.decisions(since, arguments.gate)))
        sets = _Sets(stack, checker, opa, shipped, given.sources, defaults)
        while some := list(islice(rows, _AT_ONCE)):
            outcomes = await asyncio.gather(*[_ask_again(row, await sets.deciding(settings.get(row["revision"]))) for row in some])
            counts.update(outcome.state for outcome in outcomes)
            told += [outcome for outcome in outcomes if outcome.state != SAME]
    document = {
        "since": since,
        "asked": counts.total(),
        **{state: [outcome.document() for outcome in told if outcome.state == state] for state in (CHANGED, UNKNOWN)},
    }
    print_answer(arguments.output, document, map(shown, _lines(told, counts, since)))
    return Exit.NO if counts[CHANGED] or counts[UNKNOWN] else Exit.DONE


def _policies(path: Path) -> tuple[Source, Given]:
    """The shipped set, or what stands for it, and what is given beside it."""
    packages = {Module("", "", file.read_text(encoding="utf-8", errors="replace")).package for file in path.rglob("*.rego")}
    if not {f"kubernaut.gates.{gate}" for gate in GATES} <= packages:
        return read_shipped(paths.POLICIES), read_paths([path])
    try:
        return read_shipped(path), Given()
    except (OSError, ValueError) as exc:
        raise CommandError(f"--policies: {exc}", Exit.USAGE) from exc


async def _accepted_settings(given: Given, shipped: Source, checker: Checker) -> dict[str, Any]:
    """The settings that go with these policies, once it is known that a cluster would take them.

    Raises:
        CommandError: it would not, so there is nothing that they would change.
    """
    judged = await judge(given, shipped, checker)
    findings = [finding for name in given.sources for finding in judged.findings(given, name)]
    findings += [finding for case in judged.case_of_settings(given) for finding in case.findings]
    if errors := [finding for finding in findings if not finding.warning]:
        said = [line for finding in errors for line in lines_of(finding)]
        raise CommandError("\n".join(["these policies would be refused, and so change nothing", *said]), Exit.USAGE)
    return judged.settings.document()


@dataclass(frozen=True, slots=True)
class _Sets:
    """The policies under each of the settings that recorded decisions were made with, each in an OPA of its own."""

    stack: AsyncExitStack
    checker: Checker
    opa: Path
    shipped: Source
    sources: Mapping[str, Source]
    defaults: Mapping[str, Any]
    clients: dict[str | None, GateClient] = field(default_factory=dict)

    async def deciding(self, settings: str | None) -> GateClient:
        """The OPA that decides with these settings (JSON); None: with those that go with the policies."""
        if settings not in self.clients:
            self.clients[settings] = await self._started(self.defaults if settings is None else json.loads(settings))
        return self.clients[settings]

    async def _started(self, settings: Mapping[str, Any]) -> GateClient:
        policy_set, problems = combine(self.shipped, self.sources.values(), settings)
        problems = problems or await self.checker.compile(policy_set)
        if problems:
            raise CommandError(f"--policies: {problems[0]}", Exit.USAGE)
        url = await self.stack.enter_async_context(_serving(self.opa, build_bundle(policy_set).content))
        return await self.stack.enter_async_context(GateClient(url, token=None, deadline=_DEADLINE, observe=lambda *_: None))


@asynccontextmanager
async def _serving(program: Path, bundle: bytes) -> AsyncIterator[str]:
    """The URL of an OPA that decides by this bundle."""
    with tempfile.TemporaryDirectory(prefix="phasegate-replay-") as name:
        folder = Path(name)
        (folder / "bundle.tar.gz").write_bytes(bundle)
        config = {"bundles": {BUNDLE: {"resource": (folder / "bundle.tar.gz").as_uri()}}}
        (folder / "opa.json").write_text(json.dumps(config), encoding="utf-8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        try:
            process = await asyncio.create_subprocess_exec(
                *(program, "run", "--server", "--addr", address, "--config-file", folder / "opa.json", "--log-level", "error"),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env={"HOME": name},
            )
        except OSError as exc:
            raise CommandError(f"cannot start {program}: {exc}") from exc
        try:
            await _until_ready(f"http://{address}", process)
            yield f"http://{address}"
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _until_ready(url: str, process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(_START_SECONDS), aiohttp.ClientSession() as session:
            while process.returncode is None:
                try:
                    async with session.get(f"{url}/health?bundles") as answer:
                        if answer.status == HTTPStatus.OK:
                            return
                except aiohttp.ClientError:
                    # It does not listen yet.
                    pass
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError as exc:
        raise CommandError(f"opa was not ready within {_START_SECONDS:g} s; is this machine too busy?") from exc
    raise CommandError(f"opa ended with {process.returncode} before it was ready")


async def _ask_again(row: Row, client: GateClient) -> Outcome:
    gate = row["gate"]
    if row["input"] is None:
        return Outcome(row, UNKNOWN, why="its question was too large to be kept")
    if gate not in VERDICTS:
        return Outcome(row, UNKNOWN, why="this version has no such gate")
    question = {**json.loads(row["input"]), "now": row["time"]}
    before = json.loads(row["verdict"]) if row["verdict"] else {"decision": row["decision"], "reasons": json.loads(row["reasons"])}
    try:
        result, _ = await client.evaluate(gate, question)
        after = verdicts.parse(VERDICTS[gate], result).model_dump(mode="json")
    except PolicyNotReadyError as exc:
        if exc.failure == "unreachable":
            raise CommandError(str(exc)) from exc
        return Outcome(row, CHANGED, [Change("decision", before["decision"], f"none: {exc.cause}")])
    except MalformedVerdictError as exc:
        return Outcome(row, CHANGED, [Change("decision", before["decision"], f"none: {exc}")])
    if unread := sorted(_unread(before, after, question.get("facts") or {})):
        return Outcome(row, UNKNOWN, why=f"it asks for facts that were not read then: {', '.join(unread)}")
    changes = list(_changes(_told(before), _told(after), whole=bool(row["verdict"])))
    if changes and row["masked"]:
        return Outcome(row, UNKNOWN, changes, "its question is about values of a Secret, which are digests here")
    return Outcome(row, CHANGED if changes else SAME, changes)


def _unread(before: Json, after: Json, facts: Json) -> Iterator[str]:
    """The facts that are wanted now and were not read then, or were read of something else."""
    former = {request["id"]: _given_fields(request) for request in before.get("facts") or []}
    for request in after["facts"]:
        if request["id"] not in facts or former.get(request["id"], _given_fields(request)) != _given_fields(request):
            yield request["id"]


def _given_fields(request: Json) -> dict[str, Any]:
    return {key: value for key, value in request.items() if value is not None}


def _told(verdict: Json) -> dict[str, Any]:
    """Everything that a verdict decides, by name; what is only said to people is left out."""
    reasons = {f"reason {reason['code']} of {reason['policy']}": "given" for reason in verdict["reasons"]}
    rest = {key: value if key in _VERBATIM else _bare(value) for key, value in verdict.items() if key not in _SAID}
    return {"decision": verdict["decision"], **reasons, **rest}


def _bare(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, list):
        return [_bare(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _bare(entry) for key, entry in value.items() if key not in _FOR_PEOPLE}
    return value


def _changes(before: Json, after: Json, *, whole: bool) -> Iterator[Change]:
    """What differs; where not the ``whole`` verdict was kept, only what was kept of it. A field that one version lacks says nothing."""
    for name in dict.fromkeys([*before, *after]):
        compared = name.startswith(("decision", "reason ")) or (whole and name in before and name in after)
        if compared and before.get(name) != after.get(name):
            yield Change(name, before.get(name), after.get(name))


def _lines(told: Sequence[Outcome], counts: Counter[str], since: str) -> Iterator[str]:
    for outcome in told:
        yield from outcome.lines()
    if not counts:
        yield f"no decision was recorded since {since}"
    else:
        yield f"{counts.total()} decisions since {since}: {counts[CHANGED]} would change, {counts[UNKNOWN]} cannot be told"


def _short(value: Any) -> str:  # noqa: ANN401 - any JSON value
    text = "nothing" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 120 else f"{text[:119]}…"  # noqa: PLR2004 - one line


def _since(text: str) -> timedelta:
    """A Go duration, or a number of days."""
    try:
        if days := re.fullmatch(r"([0-9]{1,5})d", text):
            return timedelta(days=int(days[1]))
        duration = parse_duration(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{exc}, or with days: 7d") from exc
    if not timedelta(0) <= duration <= _LONGEST_AGO:
        raise argparse.ArgumentTypeError(f"{text!r} is not how far back one can look")
    return duration
