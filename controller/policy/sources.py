"""Where policy comes from: the shipped files and the labelled ConfigMaps, read into one PolicySet.

Nothing here compiles Rego; what is judged is only what can be judged by names: which package a module claims, who claimed it
first, and whether a data file is plain data.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import override

POLICY_LABEL = "kubernaut.ai/policy"
POLICY_LABEL_VALUE = "rego"
STATUS_ANNOTATION = "kubernaut.ai/policy-status"
IMAGE = "image"
"""The name of the source that is built in."""

GATES = frozenset(
    {
        "planning",
        "safety",
        "approval",
        "dispatch",
        "completion",
        "failure",
        "monitoring",
        "rollback",
        "action",
        "verify",
        "mapping",
    }
)
_DATA_ROOTS = frozenset({"settings", "modules", "references", "teams"})
_PACKAGE = re.compile(r"^[ \t]*package[ \t]+([^\s#]+)", re.MULTILINE)
_PLAIN_PACKAGE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_RULE_PACKAGE_DEPTH = 4


@dataclass(frozen=True, slots=True)
class PolicyProblem:
    """One reason why a source cannot be used, with the place; ``line`` 0 means the file as a whole."""

    source: str
    key: str
    line: int
    column: int
    message: str
    remedy: str = ""

    @override
    def __str__(self) -> str:
        """One line for logs and Events."""
        place = f"{self.source}/{self.key}" + (f":{self.line}:{self.column}" if self.line else "")
        return f"{place}: {self.message}" + (f" ({self.remedy})" if self.remedy else "")


@dataclass(frozen=True, slots=True)
class Module:
    """One Rego file: the ConfigMap it lives in (for a shipped one: is rendered to), its key there, its text."""

    source: str
    key: str
    text: str

    @property
    def package(self) -> str:
        """The package as written; empty if there is none."""
        match = _PACKAGE.search(self.text)
        return match[1] if match else ""

    @property
    def path(self) -> str:
        """Its file name, in checks, in the bundle, and so in OPA's error messages."""
        return f"{self.source}/{self.key}"


@dataclass(frozen=True, slots=True)
class Source:
    """What one ConfigMap (or the image) contributes; ``created`` and ``name`` order the sources."""

    name: str
    created: str = ""
    modules: tuple[Module, ...] = ()
    tests: tuple[Module, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Of the content alone: what changes nothing else changes nothing here."""
        content = [[m.key, m.text] for m in (*self.modules, *self.tests)]
        return hashlib.sha256(json.dumps([content, self.data], sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All modules and all data that decide together."""

    modules: tuple[Module, ...]
    data: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any]


def rendered_name(package: str) -> str:
    """The ConfigMap that a shipped package is rendered to."""
    return "kubernaut-policy-" + _inside(package).replace(".", "-").replace("_", "-")


def rendered_key(package: str) -> str:
    """The key of a shipped package there; ConfigMap keys cannot hold a slash, so it is the package path."""
    return _inside(package) + ".rego"


def read_shipped(folder: Path) -> Source:
    """The shipped set from ``policies/``; ValueError if a file there has no package of ours or shares one."""
    modules: dict[str, Module] = {}
    for path in sorted(folder.rglob("*.rego")):
        if path.name.endswith("_test.rego") or path.relative_to(folder).parts[0] == "tests":
            continue
        text = path.read_text(encoding="utf-8")
        package = Module("", "", text).package
        problem = _package_problem(package)
        if problem is not None or package in modules:
            message = f"{path}: {problem or f'package {package} is already in {modules[package].key}'}"
            raise ValueError(message)
        modules[package] = Module(rendered_name(package), rendered_key(package), text)
    if not modules:
        message = f"there is no policy below {folder}: name the folder of the shipped policies"
        raise ValueError(message)
    return Source(IMAGE, modules=tuple(modules.values()))


def is_policy_source(config_map: Mapping[str, Any]) -> bool:
    """Whether a ConfigMap asks to be part of the policy set."""
    labels = config_map["metadata"].get("labels") or {}
    return bool(labels.get(POLICY_LABEL) == POLICY_LABEL_VALUE)


def read_config_map(config_map: Mapping[str, Any]) -> tuple[Source, list[PolicyProblem]]:
    """What a labelled ConfigMap contributes, and what of it is unusable; with any problem it is not to be used at all."""
    metadata = config_map["metadata"]
    name: str = metadata["name"]
    modules: list[Module] = []
    tests: list[Module] = []
    data: dict[str, Any] = {}
    problems = [
        PolicyProblem(name, key, 0, 0, "binary data is not read", "put text below `data`") for key in config_map.get("binaryData") or {}
    ]
    for key, text in sorted((config_map.get("data") or {}).items()):
        if key.endswith(".rego"):
            module = Module(name, key, text)
            problem = _package_problem(module.package)
            if problem is not None:
                remedy = "start the file with a package such as kubernaut.rules.dispatch.my_team"
                problems.append(PolicyProblem(name, key, _package_line(text), 1, problem, remedy))
            (tests if key.endswith("_test.rego") else modules).append(module)
        elif key.endswith((".json", ".yaml", ".yml")):
            problems += _add_data(data, name, key, text)
        else:
            problems.append(PolicyProblem(name, key, 0, 0, "unknown kind of key", "end it in .rego, .json or .yaml"))
    source = Source(name, metadata.get("creationTimestamp", ""), tuple(modules), tuple(tests), data)
    return source, problems


def combine(shipped: Source, sources: Iterable[Source], settings: Mapping[str, Any]) -> tuple[PolicySet, list[PolicyProblem]]:
    """The set that these sources make together, and whom it refuses because the package is somebody else's."""
    modules = {module.path: module for module in shipped.modules}
    owners = {module.package: module.source for module in shipped.modules}
    data: dict[str, Mapping[str, Any]] = {}
    problems: list[PolicyProblem] = []
    for source in sorted(sources, key=lambda s: (s.created, s.name)):
        for module in source.modules:
            replaced = modules.get(module.path)
            owner = owners.setdefault(module.package, source.name)
            if replaced is not None and replaced.package != module.package:
                message = f"this key replaces the shipped package {replaced.package}, but defines {module.package}"
                problems.append(PolicyProblem(source.name, module.key, 0, 0, message, f"keep the package {replaced.package}"))
            elif owner != source.name:
                message = f"package {module.package} is already defined by {owner}"
                problems.append(PolicyProblem(source.name, module.key, 0, 0, message, "choose another package name"))
            elif replaced is None and module.source in {m.source for m in shipped.modules}:
                message = "the names kubernaut-policy-… are for replacing shipped modules, key by key"
                problems.append(PolicyProblem(source.name, module.key, 0, 0, message, "use a ConfigMap of another name"))
            else:
                modules[module.path] = module
        if source.data:
            data[source.name] = source.data
    ordered = tuple(sorted(modules.values(), key=lambda m: m.path))
    return PolicySet(ordered, data, settings), problems


def _inside(package: str) -> str:
    return package.removeprefix("kubernaut.")


def _package_line(text: str) -> int:
    match = _PACKAGE.search(text)
    return text.count("\n", 0, match.start(1)) + 1 if match else 1


def _package_problem(package: str) -> str | None:
    if not package:
        return "there is no package"
    if not _PLAIN_PACKAGE.fullmatch(package):
        return f"package {package} must be plain names joined by dots"
    root, *rest = package.split(".")
    if root != "kubernaut" or not rest:
        return f"package {package} is not below kubernaut"
    if rest[0] in _DATA_ROOTS:
        return f"package {package} would hide data.kubernaut.{rest[0]}, which is data"
    if rest[0] in {"rules", "shadow"} and not rest[-1].endswith("_test"):
        if len(rest) + 1 != _RULE_PACKAGE_DEPTH:
            return f"package {package} must be kubernaut.{rest[0]}.<gate>.<name>"
        if rest[1] not in GATES:
            return f"package {package}: there is no gate {rest[1]} (there are {', '.join(sorted(GATES))})"
    return None


def _add_data(data: dict[str, Any], source: str, key: str, text: str) -> Sequence[PolicyProblem]:
    try:
        document = json.loads(text) if key.endswith(".json") else yaml.load(text, Loader=_PlainYaml)  # noqa: S506 - a SafeLoader, and stricter
        plain = json.loads(json.dumps(document, allow_nan=False))
    except yaml.MarkedYAMLError as exc:
        line, column = (exc.problem_mark.line + 1, exc.problem_mark.column + 1) if exc.problem_mark else (0, 0)
        return [PolicyProblem(source, key, line, column, f"not plain YAML: {exc.problem}")]
    except json.JSONDecodeError as exc:
        return [PolicyProblem(source, key, exc.lineno, exc.colno, f"not JSON: {exc.msg}")]
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as exc:
        return [PolicyProblem(source, key, 0, 0, f"not plain data: {exc}", "use only what JSON can say; quote dates")]
    if not isinstance(plain, dict):
        return [PolicyProblem(source, key, 0, 0, "the document must be an object", "write names and values")]
    doubled = sorted(plain.keys() & data.keys())
    if doubled:
        message = f"{', '.join(doubled)} is also in another data file of this ConfigMap"
        return [PolicyProblem(source, key, 0, 0, message, "give each name once")]
    data.update(plain)
    return []


class _PlainYaml(yaml.SafeLoader):
    """Safe YAML without aliases: a few lines of nested aliases expand to gigabytes."""

    @override
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it out
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", event.start_mark)
        return super().compose_node(parent, index)
