"""`phasegate policy status`: what became of the policies in a cluster, and which revision changed what."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from controller.cli._exits import CommandError, Exit
from controller.cli._output import print_answer
from controller.cli._policy.report import shown
from controller.cli._workflow import Document, add_cluster_arguments, on_cluster, refusals
from controller.cluster.client import Cluster
from controller.cluster.kinds import CONFIG_MAP
from controller.core.durations import parse_duration
from controller.policy.copies import kept_source, read_copy
from controller.policy.history import NAME, read_history, read_trouble
from controller.policy.render import DIGEST_ANNOTATION
from controller.policy.sources import GUARDED_LABEL, STATUS_ANNOTATION, Source, is_policy_source, read_config_map
from controller.settings import SETTINGS_CONFIG_MAP, SYSTEM_NAMESPACE, SettingProblem, Settings, parse_settings

SUMMARY = "what became of the policies in the cluster: 0 all of them decide as they are written, 1 some do not"
_BETWEEN_TWO_LOOKS = 0.2
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
# What there is to say where the status itself cannot say it.
_SAID = {
    "pending": "no controller has looked at this version yet",
    "accepted": "it passed, and OPA is about to decide by it",
    "kept": "its ConfigMap is gone, but its last version goes on deciding, because others need it or because the change was not seen yet",
}


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare it."""
    parser = actions.add_parser("status", help=SUMMARY, description=SUMMARY)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME_OR_REVISION",
        help="a source: tell of it alone, the exit code too; a revision, or how it begins: say what it changed instead",
    )
    parser.add_argument("--history", action="store_true", help="list the revisions too, and what each changed")
    parser.add_argument("--all", action="store_true", help="list the shipped ConfigMaps that nobody has edited too")
    parser.add_argument(
        "--wait", type=_seconds, default=0.0, metavar="DURATION", help="wait as long as this for the controller to judge what is new"
    )
    add_cluster_arguments(parser)
    parser.set_defaults(run=lambda arguments: on_cluster(arguments, lambda cluster: _status(cluster, arguments)))


@dataclass(frozen=True, slots=True)
class InCluster:
    """Policies in a cluster: the ConfigMaps as they are, the versions ``deciding``, and the revisions until now, newest first.

    ``trouble`` keeps anything from being served; ``damaged`` has the sources whose last good copy cannot be read. Both are errors as the
    controller writes them: {source, key, line, column, message, remedy}.
    """

    config_maps: Sequence[Document]
    deciding: Mapping[str, Source]
    history: Sequence[Mapping[str, Any]]
    settings: Settings
    setting_problems: Sequence[SettingProblem]
    trouble: Sequence[Mapping[str, Any]]
    damaged: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Row:
    """One source."""

    name: str
    state: str
    status: Mapping[str, Any]
    packages: Sequence[str]
    is_shipped: bool = False

    def document(self, now: datetime) -> dict[str, Any]:
        """For programs."""
        told = {name: self.status.get(name, "") for name in ("revision", "time", "digest")}
        lists = {name: _objects(self.status.get(name)) for name in ("errors", "warnings")}
        return {
            "name": self.name,
            "state": self.state,
            **told,
            "ageSeconds": _age(self.status, now),
            "packages": list(self.packages),
            **lists,
            "trials": _object(self.status.get("trials")),
        }


@dataclass(frozen=True, slots=True)
class _Told:
    """What is told of a cluster: everything, or what concerns the sources that were named."""

    revision: str
    since: str
    errors: Sequence[Mapping[str, Any]]
    rows: Sequence[_Row]
    setting_problems: Sequence[SettingProblem]

    @property
    def is_good(self) -> bool:
        """Whether all of it decides as it is written."""
        return bool(self.revision) and not (self.errors or self.setting_problems) and all(row.state == "active" for row in self.rows)


async def read_cluster(cluster: Cluster) -> InCluster:
    """The policies of a cluster.

    Raises:
        CommandError: they may not be read.
    """
    with refusals("read the policies", "policy-writer", SYSTEM_NAMESPACE):
        page = await cluster.list(CONFIG_MAP, SYSTEM_NAMESPACE)
    named = {config_map["metadata"]["name"]: config_map for config_map in page.items}
    deciding: dict[str, Source] = {}
    damaged: dict[str, Mapping[str, Any]] = {}
    for name, config_map in named.items():
        if (config_map["metadata"].get("labels") or {}).get(GUARDED_LABEL) == "source":
            try:
                source = read_copy(config_map)
            except ValueError as exc:
                kept = kept_source(config_map)
                remedy = f"apply {kept} anew, or delete ConfigMap {name} to go on without it"
                damaged[kept] = {"source": name, "message": f"the last good copy cannot be read: {exc}", "remedy": remedy}
            else:
                deciding[source.name] = source
    settings, problems = parse_settings((named.get(SETTINGS_CONFIG_MAP) or {}).get("data") or {}, {})
    of_the_set = (named.get(NAME) or {}).get("data") or {}
    return InCluster(
        [one for one in named.values() if is_policy_source(one)],
        deciding,
        read_history(of_the_set),
        settings,
        problems,
        read_trouble(of_the_set),
        damaged,
    )


async def _status(cluster: Cluster, arguments: argparse.Namespace) -> int:
    there = await _judged(cluster, frozenset(arguments.names), arguments.wait)
    known = {*there.damaged, *(row.name for row in _rows(there))}
    if revisions := [name for name in arguments.names if name not in known]:
        if len(revisions) < len(arguments.names):
            raise CommandError(f"there is no source {revisions[0]}; name sources or revisions, not both", Exit.USAGE)
        return _tell_revision(there, arguments, revisions)
    told = _told(there, frozenset(arguments.names))
    now = datetime.now(UTC)
    document: dict[str, Any] = {
        "revision": told.revision,
        "errors": list(told.errors),
        "sources": [row.document(now) for row in told.rows],
        "settings": [{"key": problem.key, "message": problem.message} for problem in told.setting_problems],
    }
    if arguments.history:
        document["history"] = list(there.history)
    print_answer(arguments.output, document, map(shown, _lines(there, told, now, arguments)))
    return Exit.DONE if told.is_good else Exit.NO


def _tell_revision(there: InCluster, arguments: argparse.Namespace, names: Sequence[str]) -> int:
    entries = [_entry(there.history, name) for name in names]
    print_answer(arguments.output, entries[0] if len(entries) == 1 else entries, map(shown, _history_lines(entries)))
    return Exit.DONE


async def _judged(cluster: Cluster, names: Collection[str], seconds: float) -> InCluster:
    """The policies as they are, or within so many seconds as soon as what is asked for does not wait for a judgement."""
    deadline = time.monotonic() + seconds
    while True:
        there = await read_cluster(cluster)
        told = _told(there, names)
        unsettled = not told.revision or there.trouble or any(row.state in {"pending", "accepted", "kept"} for row in told.rows)
        if not unsettled or time.monotonic() >= deadline:
            return there
        await asyncio.sleep(_BETWEEN_TWO_LOOKS)


def _told(there: InCluster, names: Collection[str]) -> _Told:
    """What is told of a cluster, with ``names`` of these sources alone; what keeps everything from being served concerns them, too."""
    known = {str(error.get("source")) for error in there.trouble}
    damaged = [error for source, error in there.damaged.items() if (source in names or not names) and error["source"] not in known]
    newest = there.history[0] if there.history else {}
    return _Told(
        revision=str(newest.get("revision") or ""),
        since=str(newest.get("time") or ""),
        errors=[*there.trouble, *damaged],
        rows=[row for row in _rows(there) if row.name in names or not names],
        setting_problems=() if names else there.setting_problems,
    )


def _seconds(text: str) -> float:
    try:
        return parse_duration(text).total_seconds()
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _entry(history: Sequence[Mapping[str, Any]], revision: str) -> Mapping[str, Any]:
    found = [entry for entry in history if str(entry["revision"]).startswith(revision)]
    if len(found) != 1:
        unknown = "there is no such source, and the history does not know it; `phasegate policy status --history` lists all revisions"
        raise CommandError(f"{revision}: {'several revisions begin with it' if found else unknown}", Exit.NO)
    return found[0]


def _rows(there: InCluster) -> list[_Row]:
    rows = [_row(config_map) for config_map in there.config_maps]
    gone = sorted(there.deciding.keys() - {row.name for row in rows})
    rows += [_Row(name, "kept", {"digest": there.deciding[name].digest}, _packages(there.deciding[name])) for name in gone]
    return sorted(rows, key=lambda row: (row.is_shipped, row.name))


def _row(config_map: Document) -> _Row:
    source, _ = read_config_map(config_map)
    annotations = config_map["metadata"].get("annotations") or {}
    status = _object(_parsed(annotations.get(STATUS_ANNOTATION)))
    if status.get("digest") != source.digest:
        # What it says is about another version.
        status = {}
    digests = {"sha256:" + hashlib.sha256(module.text.encode()).hexdigest() for module in source.modules}
    is_shipped = digests == {annotations.get(DIGEST_ANNOTATION)}
    return _Row(source.name, str(status.get("state") or "pending"), status, _packages(source), is_shipped)


def _packages(source: Source) -> list[str]:
    return sorted({module.package for module in source.modules})


def _parsed(text: str | None) -> Any:  # noqa: ANN401 - any JSON value
    """A JSON document; None where there is none that can be read."""
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        return None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _lines(there: InCluster, told: _Told, now: datetime, arguments: argparse.Namespace) -> Iterator[str]:
    if there.trouble:
        yield "no policy set can be served; mend this first:"
    yield from (line for error in told.errors for line in _problem("error", error, _of_set(error)))
    served = f"{'the last revision was' if there.trouble else 'revision'} {told.revision} since {told.since}"
    yield served if told.revision else "no revision yet: no controller has served any policies here"
    quiet = [row for row in told.rows if row.is_shipped and row.state == "active" and not (arguments.all or arguments.names)]
    listed = [row for row in told.rows if row not in quiet]
    table = [("SOURCE", "STATE", "REVISION", "AGE", "PACKAGES"), *(_cells(row, now) for row in listed)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(table[0]))]
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in table]
    if listed:
        yield texts[0]
    for row, text in zip(listed, texts[1:], strict=True):
        yield text
        yield from _details(row, there)
    if quiet:
        yield f"and {len(quiet)} shipped ConfigMaps, active as they were rendered (--all lists them)"
    yield from (f"setting refused: {problem.message}" for problem in told.setting_problems)
    if arguments.history:
        yield from _history_lines(there.history)


def _cells(row: _Row, now: datetime) -> tuple[str, ...]:
    return (row.name, row.state, str(row.status.get("revision", "")), _short(_age(row.status, now)), ", ".join(row.packages))


def _details(row: _Row, there: InCluster) -> Iterator[str]:
    if row.state in _SAID:
        yield f"    {_SAID[row.state]}"
    for what in ("errors", "warnings"):
        for problem in _objects(row.status.get(what)):
            yield from (f"    {line}" for line in _problem(what.removesuffix("s"), problem, str(problem.get("file", ""))))
    if row.state == "rejected":
        last = there.deciding.get(row.name)
        yield f"    {'an earlier version goes on deciding' if last is not None else 'nothing of it decides'}"
    for package, value in _object(row.status.get("trials")).items():
        summary = _object(value)
        said = ", ".join(f"{what} {count} times" for what, count in _object(summary.get("said")).items()) or "nothing"
        failed = f"; failed {summary['errors']} times: {summary.get('lastError', '')}" if summary.get("errors") else ""
        yield f"    on trial {package}: asked {summary.get('evaluated', 0)} times, would have said {said}{failed}"


def _problem(what: str, problem: Mapping[str, Any], file: str) -> Iterator[str]:
    place = f"{file}:{problem['line']}:{problem.get('column')}" if problem.get("line") else file
    yield f"{what} {place}: {problem.get('message', '')}"
    if problem.get("remedy"):
        yield f"  → {problem['remedy']}"


def _of_set(error: Mapping[str, Any]) -> str:
    """The place of an error of the set: its source and the key there."""
    return f"{error.get('source', '')}/{error.get('key', '')}".removesuffix("/")


def _history_lines(history: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for entry in history:
        changed = _object(entry.get("changed"))
        said = ", ".join(f"{name} removed" if digest is None else f"{name} {digest}" for name, digest in changed.items())
        yield f"{entry['revision']}  {entry.get('time', '')}  {said or 'the shipped policies or the settings'}"


def _age(status: Mapping[str, Any], now: datetime) -> int | None:
    try:
        return max(0, int((now - datetime.fromisoformat(str(status["time"]))).total_seconds()))
    except (KeyError, ValueError, TypeError):
        return None


def _short(seconds: int | None) -> str:
    if seconds is None:
        return ""
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), _UNITS[-1])
    return f"{seconds // size}{unit}"
