"""From PATHs on disk to policy sources, and back from a problem in a source to the file, line and column on disk.

A folder of Rego is one source; a file of Rego too; a ConfigMap in a YAML or JSON file is one as well, wherever it lies. All of them are
read by the loader's own `read_config_map`, so that what is read here is what the cluster would read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller.cli._policy.manifests import NAMESPACE, Found, Place, read_manifest, wrong
from controller.policy.judging import Version, version
from controller.policy.sources import PolicyProblem, Source, read_config_map
from controller.settings import SETTINGS_CONFIG_MAP, SYSTEM_NAMESPACE

MOST_BYTES = 1 << 20
"""The values of one ConfigMap together; the API server takes no more."""

_LARGEST_FILE = 64 << 20
_POLICY = (".rego", ".json", ".yaml", ".yml")
_NOTES = (".md", ".txt")
_NO_POLICY = frozenset({"kustomization.yaml", "kustomization.yml", "LICENSE", "Makefile", "CODEOWNERS"})
# As the API server has it.
_KEY = re.compile(r"(?!\.\.|\.$)[-._a-zA-Z0-9]{1,253}")
_LONGEST_NAME = 253
_A_NAME = f"a name has small letters, digits, dashes and dots, {_LONGEST_NAME} at most, and begins and ends with a letter or digit"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class Given:
    """What PATHs hold. ``config_maps`` are the sources as the cluster would get them; ``settings`` is None where none were given."""

    config_maps: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    unreadable: dict[Version, list[PolicyProblem]] = field(default_factory=dict)
    places: dict[tuple[str, str], Place] = field(default_factory=dict)
    settings: dict[str, str] | None = None
    settings_problems: list[PolicyProblem] = field(default_factory=list)

    def add(self, found: Found) -> None:
        """Add one ConfigMap.

        Raises:
            CommandError: another one of its name is there already, or the cluster would not take it.
        """
        config_map, file = found.config_map, found.places[""].file
        name = config_map["metadata"]["name"]
        _refuse_what_no_config_map_is(config_map, file)
        misplaced = list(_misplaced(found))
        if name == SETTINGS_CONFIG_MAP:
            if self.settings:
                raise wrong(f"{file}: the settings are in {self.places[name, ''].file} already")
            if self.settings is not None:
                self.settings.update(config_map.get("data") or {})
            self.settings_problems.extend(misplaced)
        elif name in self.config_maps:
            first = self.places[name, ""].file
            raise wrong(f"{file}: the name {name} is taken by {first}; rename one, or check them one by one with --name")
        else:
            source, problems = read_config_map(config_map)
            self.config_maps[name], self.sources[name] = config_map, source
            if misplaced or problems:
                self.unreadable[version(source)] = [*misplaced, *problems]
        self.places.update({(name, key): place for key, place in found.places.items()})


def read_paths(paths: Sequence[Path], name: str | None = None) -> Given:
    """What these PATHs hold.

    Args:
        paths: folders or files.
        name: of the one source that they hold; by default it is called as its folder or file is.

    Raises:
        CommandError: there is no such path, no policy, or something that no policy can be.
    """
    if name is not None and (name == SETTINGS_CONFIG_MAP or not _is_name(name)):
        raise wrong(f"--name: no policy can be called {name!r}; {_A_NAME}")
    found = [one for path in paths for one in _read(path, name)]
    maps = [one for one in found if one.config_map["metadata"]["name"] != SETTINGS_CONFIG_MAP]
    if name is not None and len(maps) != 1:
        raise wrong(f"--name names one source, and these paths hold {len(maps)}")
    if name is not None and maps[0].config_map["metadata"]["name"] != name:
        raise wrong("--name is for a folder or a .rego file; a ConfigMap has a name already")
    given = Given(settings={} if len(maps) < len(found) else None)
    for one in found:
        given.add(one)
    return given


def _read(path: Path, name: str | None) -> list[Found]:
    try:
        path.stat()
    except OSError as exc:
        missing = isinstance(exc, (FileNotFoundError, NotADirectoryError))
        raise wrong(f"{path}: {'there is no such file or folder' if missing else exc.strerror}") from exc
    found: list[Found] = []
    loose: dict[str, tuple[str, Place]] = {}
    for file in sorted(_files(path)):
        text = _text(file)
        if file.suffix != ".rego" and (objects := read_manifest(file, text, alone=file == path)) is not None:
            found += objects
        elif path.is_file() and file.suffix != ".rego":
            raise wrong(f"{path} holds no ConfigMap; a data file belongs into a folder with the policies that read it")
        else:
            key = _key(file, path)
            if key in loose:
                raise wrong(f"{file}: its key {key} is that of {loose[key][1].file} already; rename one")
            loose[key] = (text, Place(str(file)))
    if loose:
        metadata = {"name": name or _name(path)}
        places = {"": Place(str(path)), **{key: place for key, (_, place) in loose.items()}}
        found.append(Found({"metadata": metadata, "data": {key: text for key, (text, _) in loose.items()}}, places))
    if not found:
        raise wrong(f"{path}: there is no policy in it: no .rego file, and no ConfigMap labelled kubernaut.ai/policy: rego")
    return found


def _files(path: Path) -> Iterator[Path]:
    """The files of a folder that count; hidden ones and notes for people do not, and whatever else is there is a mistake.

    Links count as long as they lead to files of the folder: what a pull request brings is not to read the rest of the machine.
    """
    if path.is_file():
        if path.suffix not in _POLICY:
            raise wrong(f"{path}: policies end in {', '.join(_POLICY)}")
        yield path
        return
    root = os.path.realpath(path)
    for file in path.rglob("*"):
        inside = file.relative_to(path)
        if any(part.startswith(".") for part in inside.parts) or file.name in _NO_POLICY or file.suffix in _NOTES:
            continue
        if file.is_dir() and not file.is_symlink():
            continue
        if not (target := Path(os.path.realpath(file))).is_relative_to(root):
            raise wrong(f"{file} leads out of the folder, to {target}; put a copy of it there")
        if not file.is_file():
            raise wrong(f"{file}: {'this link leads to no file' if file.is_symlink() else 'neither a file nor a folder'}; remove it")
        if file.suffix not in _POLICY:
            raise wrong(f"{file}: unknown kind of file; policies end in {', '.join(_POLICY)}, and notes in {', '.join(_NOTES)}")
        yield file


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise wrong(f"{file} is larger than {_LARGEST_FILE >> 20} MiB")
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise wrong(f"{file}:{line}: not UTF-8: byte {exc.start} is {exc.object[exc.start]:#04x}; save the file as UTF-8") from exc
    except OSError as exc:
        raise wrong(f"cannot read {file}: {exc.strerror}") from exc


def _key(file: Path, root: Path) -> str:
    key = ".".join(file.relative_to(root).parts) if root.is_dir() else file.name
    _refuse_key(key, str(file))
    return key


def _refuse_what_no_config_map_is(config_map: Mapping[str, Any], file: str) -> None:
    """What the API server would not take: a name, a key, or more than it holds."""
    name, data = config_map["metadata"]["name"], config_map.get("data") or {}
    if not _is_name(name):
        raise wrong(f"{file}: no ConfigMap can be called {name!r}; {_A_NAME}")
    for key in (*data, *(config_map.get("binaryData") or {})):
        _refuse_key(key, file)
    size = sum(len(text.encode()) for text in data.values())
    if size > MOST_BYTES:
        raise wrong(f"{file}: {name} has {size} bytes, and a ConfigMap holds {MOST_BYTES}; split it")


def _refuse_key(key: str, file: str) -> None:
    if not _KEY.fullmatch(key):
        message = "a key of a ConfigMap has letters, digits, dots (not two at its beginning), dashes and underscores only"
        raise wrong(f"{file}: {message}, so it cannot be {key!r}")


def _is_name(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None


def _misplaced(found: Found) -> Iterator[PolicyProblem]:
    """Whether the loader would look for it where it says that it is to be."""
    if found.namespace not in {"", SYSTEM_NAMESPACE}:
        message = f"it is for namespace {found.namespace}, and the cluster reads policies and settings from {SYSTEM_NAMESPACE} only"
        yield PolicyProblem(found.config_map["metadata"]["name"], NAMESPACE, 0, 0, message, f"write namespace: {SYSTEM_NAMESPACE}")


def _name(path: Path) -> str:
    """The name of a folder or file, as a ConfigMap can have it."""
    stem = path.resolve().name if path.is_dir() else path.name.removesuffix(".rego")
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:_LONGEST_NAME].rstrip("-")
    if not name or name == SETTINGS_CONFIG_MAP:
        raise wrong(f"{path}: no policy can be called like that; give it a name with --name")
    return name
