"""Where policy comes from: the shipped files and the labelled ConfigMaps, read into one PolicySet.

Nothing here compiles Rego; what is judged is only what can be judged by names: which package a module claims, who claimed it
first, and whether a data file is plain data.
"""

from __future__ import annotations

import difflib
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
GUARDED_LABEL = "kubernaut.ai/policy-last-good"
"""On what this program remembers of policies; the admission policies guard it like the policies themselves."""
STATUS_ANNOTATION = "kubernaut.ai/policy-status"
IMAGE = "image"
"""The name of the source that is built in."""
SET = "the policy set"
"""Stands for a source where a problem belongs to no single one."""

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
    }
)
_DATA_ROOTS = frozenset({"settings", "modules", "references", "teams"})
_PACKAGE = re.compile(r"^[ \t]*package[ \t]+([^\s#]+)", re.MULTILINE)
_PLAIN_PACKAGE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_RULE_PACKAGE_DEPTH = 4
_RENDERED = "kubernaut-policy-"
_LONGEST_YAML = 128 << 10


@dataclass(frozen=True, slots=True)
class PolicyProblem:
    """One reason why a source cannot be used, with the place; ``line`` 0 means the file as a whole."""

    source: str
    key: str
    line: int
    column: int
    message: str
    remedy: str = ""
    warning: bool = False

    @override
    def __str__(self) -> str:
        """One line for logs and Events."""
        place = f"{self.source}/{self.key}".removesuffix("/") + (f":{self.line}:{self.column}" if self.line else "")
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
    raw: str = ""
    """What the ConfigMap holds, if not all of it could be read."""
    digest: str = field(init=False, compare=False)
    """Of the content alone: what changes nothing else changes nothing here."""

    def __post_init__(self) -> None:
        content = [[m.key, m.text] for m in (*self.modules, *self.tests)]
        digest = hashlib.sha256(json.dumps([content, self.data, self.raw], sort_keys=True).encode()).hexdigest()[:12]
        object.__setattr__(self, "digest", digest)


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All modules and all data that decide together."""

    modules: tuple[Module, ...]
    data: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any]
    shipped: frozenset[str] = frozenset()
    """The paths of the modules that are the image's own."""

    @property
    def trials(self) -> frozenset[str]:
        """The packages on trial, ``kubernaut.shadow.<gate>.<name>``."""
        return frozenset(module.package for module in self.modules if module.package.startswith("kubernaut.shadow."))


def rendered_name(package: str) -> str:
    """The ConfigMap that a shipped package is rendered to."""
    return _RENDERED + _inside(package).replace(".", "-").replace("_", "-")


def rendered_key(package: str) -> str:
    """The key of a shipped package there; ConfigMap keys cannot hold a slash, so it is the package path."""
    return _inside(package) + ".rego"


def read_shipped(folder: Path) -> Source:
    """The shipped set from ``policies/``, tests included; ValueError if a file there has no package of ours or shares one."""
    modules: dict[str, Module] = {}
    tests: list[Module] = []
    for path in sorted(folder.rglob("*.rego")):
        text = path.read_text(encoding="utf-8")
        if path.name.endswith("_test.rego"):
            tests.append(Module("shipped-tests", str(path.relative_to(folder)).replace("/", "."), text))
            continue
        package = Module("", "", text).package
        problem = _package_problem(package, replacing=True)
        if problem is not None or package in modules:
            message = f"{path}: {problem or f'package {package} is already in {modules[package].key}'}"
            raise ValueError(message)
        modules[package] = Module(rendered_name(package), rendered_key(package), text)
    if not modules:
        message = f"there is no policy below {folder}: name the folder of the shipped policies"
        raise ValueError(message)
    return Source(IMAGE, modules=tuple(modules.values()), tests=tuple(tests))


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
        PolicyProblem(name, key, 0, 0, "binary data is not read", "put text below `data`; a file that is not UTF-8 becomes binary data")
        for key in config_map.get("binaryData") or {}
    ]
    for key, text in sorted((config_map.get("data") or {}).items()):
        if key.endswith(".rego"):
            module = Module(name, key, text)
            is_test = key.endswith("_test.rego")
            problem = _package_problem(module.package, replacing=is_test or name.startswith(_RENDERED))
            if problem is not None:
                remedy = "start the file with a package such as kubernaut.rules.dispatch.my_team"
                problems.append(PolicyProblem(name, key, _package_line(text), 1, problem, remedy))
            (tests if is_test else modules).append(module)
        elif key.endswith((".json", ".yaml", ".yml")):
            problems += _add_data(data, name, key, text)
        else:
            problems.append(PolicyProblem(name, key, 0, 0, "unknown kind of key", "end it in .rego, .json or .yaml"))
    if not problems and not modules and not tests and not data:
        # Likelier an accident than the wish to have no rule any more, and that wish has a clearer form.
        problems.append(PolicyProblem(name, "", 0, 0, "there is no policy in it", "delete the ConfigMap to take its rules away"))
    raw = json.dumps([config_map.get("data"), config_map.get("binaryData")], sort_keys=True) if problems else ""
    return Source(name, metadata.get("creationTimestamp", ""), tuple(modules), tuple(tests), data, raw), problems


def adds_to(shipped: Source, source: Source) -> bool:
    """Tell a source that says something of its own from a rendering of what the image has anyway."""
    originals = {module.path: module.text for module in shipped.modules}
    return bool(source.data or source.tests) or any(originals.get(module.path) != module.text for module in source.modules)


def replaced_packages(shipped: Source, source: Source) -> frozenset[str]:
    """The shipped packages that a source replaces by something else."""
    originals = {module.path: module.text for module in shipped.modules}
    return frozenset(module.package for module in source.modules if originals.get(module.path, module.text) != module.text)


def tests_replaced(shipped: Source, source: Source) -> tuple[Module, ...]:
    """The shipped tests of the shipped modules that a source replaces.

    A gate, an action or a rule has tests of its own; what a library does is tested by all.
    """
    replaced = replaced_packages(shipped, source)
    if any(package.startswith(("kubernaut.lib.", "kubernaut.testing.")) for package in replaced):
        return shipped.tests
    wanted = {f"{package}_test" for package in replaced}
    return tuple(test for test in shipped.tests if test.package in wanted)


def needed_by(source: Source, others: Mapping[str, Source]) -> dict[str, Source]:
    """Those of the other sources whose packages this one names, and whom they need in turn."""
    packages = {name: [module.package for module in other.modules] for name, other in others.items() if name != source.name}
    found: dict[str, Source] = {}
    waiting = [source]
    while waiting:
        one = waiting.pop()
        texts = [module.text for module in (*one.modules, *one.tests)]
        for name, theirs in packages.items():
            if name not in found and any(re.search(rf"\bdata\.{re.escape(package)}\b", text) for package in theirs for text in texts):
                found[name] = others[name]
                waiting.append(others[name])
    return found


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
            elif replaced is None and module.source.startswith(_RENDERED):
                message = f"the names {_RENDERED}… are for replacing shipped modules, and this version ships none of that key"
                remedy = "use a ConfigMap of another name, or delete it if it is left from another version"
                problems.append(PolicyProblem(source.name, module.key, 0, 0, message, remedy))
            else:
                modules[module.path] = module
        if source.data:
            data[source.name] = source.data
    ordered = tuple(sorted(modules.values(), key=lambda m: m.path))
    own = frozenset(module.path for module in shipped.modules if modules[module.path] == module)
    return PolicySet(ordered, data, settings, own), problems


def _inside(package: str) -> str:
    return package.removeprefix("kubernaut.")


def _package_line(text: str) -> int:
    match = _PACKAGE.search(text)
    return text.count("\n", 0, match.start(1)) + 1 if match else 1


def _package_problem(package: str, *, replacing: bool) -> str | None:
    if not package:
        return "there is no package"
    if not _PLAIN_PACKAGE.fullmatch(package):
        return f"package {package} must be plain names joined by dots"
    root, *rest = package.split(".")
    if root != "kubernaut" or not rest:
        return f"package {package} is not below kubernaut"
    if rest[0] in _DATA_ROOTS:
        return f"package {package} would hide data.kubernaut.{rest[0]}, which is data"
    if rest[0] == "gates" and not replacing:
        return f"package {package}: the gates are shipped; a rule of yours is kubernaut.rules.<gate>.<name>"
    if rest[0] in {"rules", "shadow"} and not rest[-1].endswith("_test"):
        if len(rest) + 1 != _RULE_PACKAGE_DEPTH:
            return f"package {package} must be kubernaut.{rest[0]}.<gate>.<name>"
        if rest[1] not in GATES:
            close = difflib.get_close_matches(rest[1], GATES, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            return f"package {package}: there is no gate {rest[1]} ({hint}there are {', '.join(sorted(GATES))})"
    close_root = difflib.get_close_matches(rest[0], {"rules", "shadow"}, n=1)
    if close_root and close_root[0] != rest[0]:
        return f"package {package}: nothing reads kubernaut.{rest[0]}; did you mean kubernaut.{close_root[0]}?"
    return None


def _add_data(data: dict[str, Any], source: str, key: str, text: str) -> Sequence[PolicyProblem]:
    if not key.endswith(".json") and len(text) > _LONGEST_YAML:
        return [PolicyProblem(source, key, 0, 0, f"{len(text)} characters of YAML take too long to read", "write it as JSON")]
    try:
        document = json.loads(text) if key.endswith(".json") else yaml.load(text, Loader=PlainYaml)  # noqa: S506 - a SafeLoader, and stricter
        plain = json.loads(json.dumps(document, allow_nan=False))
    except yaml.MarkedYAMLError as exc:
        line, column = (exc.problem_mark.line + 1, exc.problem_mark.column + 1) if exc.problem_mark else (0, 0)
        return [PolicyProblem(source, key, line, column, f"not plain YAML: {exc.problem}")]
    except json.JSONDecodeError as exc:
        return [PolicyProblem(source, key, exc.lineno, exc.colno, f"not JSON: {exc.msg}")]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, yaml.YAMLError) as exc:
        # PyYAML's constructors raise whatever they stumble over.
        return [PolicyProblem(source, key, 0, 0, f"not plain data: {exc}", "use only what JSON can say; quote dates")]
    if not isinstance(plain, dict):
        return [PolicyProblem(source, key, 0, 0, "the document must be an object", "write names and values")]
    doubled = sorted(plain.keys() & data.keys())
    if doubled:
        message = f"{', '.join(doubled)} is also in another data file of this ConfigMap"
        return [PolicyProblem(source, key, 0, 0, message, "give each name once")]
    data.update(plain)
    return []


class PlainYaml(yaml.SafeLoader):
    """Safe YAML without aliases: a few lines of nested aliases expand to gigabytes."""

    @override
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it out
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", event.start_mark)
        return super().compose_node(parent, index)
